/**
 * Room that is kept for the case of a full disk: `<home>/reserve`. Without any, the store cannot even be opened, and
 * giving space back needs some first. It is let go when the disk is (nearly) full, and taken again when there is much.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm, stat } from 'node:fs/promises'
import { freeBytes } from '../../store/room.ts'

const MIB = 1024 ** 2
/** What moving data to give space back needs, twice. */
const BYTES_MAX = 128 * MIB
const BYTES_MIN = 8 * MIB
/** At most that share of what is free. */
const SHARE = 1 / 32
/** With less the disk counts as full. */
const FULL_BYTES = 96 * MIB

export class Ballast {
  readonly #file: string
  readonly #directory: string

  /** @param file in a directory that is there */
  constructor(file: string, directory: string) {
    this.#file = file
    this.#directory = directory
  }

  /** Lets it go where the disk is full. */
  async spend(): Promise<void> {
    if ((await freeBytes(this.#directory)) < FULL_BYTES) await rm(this.#file, { force: true })
  }

  /** Takes it again where there is room. Does not fail: there is none then. */
  async keep(): Promise<void> {
    try {
      if (await stat(this.#file).catch(() => null)) return
      const free = await freeBytes(this.#directory)
      const bytes = Math.min(BYTES_MAX, Math.floor(free * SHARE))
      if (bytes < BYTES_MIN || free - bytes < FULL_BYTES) return
      const child = spawn('fallocate', ['-l', String(bytes), this.#file], { stdio: 'ignore' })
      const [code] = (await once(child, 'close')) as [number | null]
      if (code !== 0) await rm(this.#file, { force: true })
    } catch {
      // no such program, no such disk: it goes without
    }
  }
}
