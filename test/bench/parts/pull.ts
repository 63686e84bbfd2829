/** Another device that fetches all of a parcel as fast as it can. */
import { rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { startProgram, type Program } from '../../helpers/program.ts'
import type { BenchHome } from './bench-home.ts'

/** It counts as under way when that much was received. */
const BEGUN_BYTES = 4 * 1024 ** 2
const POLL_MS = 20

export class Pull {
  readonly #home: BenchHome
  readonly #export: Program
  readonly #target: string
  #beganMs = 0
  #beganBytes = 0

  private constructor(home: BenchHome, program: Program, target: string) {
    this.#home = home
    this.#export = program
    this.#target = target
  }

  /** Resolves when data comes in. `target` is a file for what it does with it. */
  static async start(home: BenchHome, parcel: string, target: string): Promise<Pull> {
    const args = ['--home', home.device.home, '--json', 'export', parcel, target]
    const pull = new Pull(home, startProgram(args), target)
    let ended = false
    void pull.#export.done.then(() => (ended = true)) // its end is looked at in end()
    const before = (await home.device.status()).bytes_received
    for (;;) {
      pull.#beganBytes = (await home.device.status()).bytes_received
      pull.#beganMs = performance.now()
      if (ended || pull.#beganBytes - before > BEGUN_BYTES) return pull
      await sleep(POLL_MS)
    }
  }

  /** Since it began. */
  async bytesPerSecond(): Promise<number> {
    const { bytes_received: bytes } = await this.#home.device.status()
    return ((bytes - this.#beganBytes) / (performance.now() - this.#beganMs)) * 1000
  }

  /** Had it something left to fetch? Then it is interrupted. */
  async end(): Promise<boolean> {
    const { code } = await this.#export.interrupt()
    await rm(this.#target, { force: true })
    return code !== 0
  }
}
