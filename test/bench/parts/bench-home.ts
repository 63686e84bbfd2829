/** Our side: the program as its user types it, in a home of its own, with the daemon running. */
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { Device } from '../../../examples/demo/device.ts'
import { cleanUp } from '../../../examples/demo/clean-up.ts'
import { diskUsage } from '../../../lib/daemon/use-cases/status.ts'
import type { BenchOptions } from '../framework.ts'
import { childrenOf, cpuSeconds, cpuSecondsOfCommands } from './cpu.ts'
import { timed, type Timed } from './command.ts'

/** `prlimit` becomes node, so a runner has this name. */
const RUNNER_NAME = 'node'
const RUNNER_END_MS = 5000

export type Json = Record<string, unknown>

export class BenchHome {
  readonly device: Device
  readonly #directory: string
  #pid = 0

  private constructor(directory: string, name: string, signal: AbortSignal) {
    this.#directory = directory
    this.device = new Device(name, directory, signal)
  }

  /** A new device and fleet, warm: the daemon runs and knows what the machine can do. */
  static async create(
    directory: string,
    bootstrap: string,
    signal: AbortSignal
  ): Promise<BenchHome> {
    await mkdir(directory, { recursive: true })
    const home = new BenchHome(directory, 'home', signal)
    await home.device.run('init', '--name', 'home', '--bootstrap', bootstrap)
    await home.device.run('create', 'warm', '--size', '1M')
    await home.#learnPid()
    return home
  }

  /** Another device of the fleet, which both know to be connected on return. */
  async join(bootstrap: string, signal: AbortSignal): Promise<BenchHome> {
    const other = new BenchHome(this.#directory, 'office', signal)
    const { result } = await this.device.run<{ invite: string }>('invite', '--no-wait')
    const options = ['--name', 'office', '--bootstrap', bootstrap]
    await other.device.run('join', result.invite, ...options)
    await other.#learnPid()
    while ((await this.device.status()).peers === 0 || (await other.device.status()).peers === 0) {
      signal.throwIfAborted()
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    return other
  }

  get store(): string {
    return path.join(this.device.home, 'store')
  }

  get daemonPid(): number {
    return this.#pid
  }

  runners(): number[] {
    return childrenOf(this.#pid, RUNNER_NAME)
  }

  /** A command, with the CPU time of everything that worked for it. No runner may be there before. */
  async run(...args: string[]): Promise<Timed & { result: Json }> {
    const before = cpuSecondsOfCommands() + cpuSeconds(this.#pid)
    const { result, wallMs } = await this.device.run<Json>(...args)
    await this.#runnersEnded()
    const after = cpuSecondsOfCommands() + cpuSeconds(this.#pid)
    return { result, wallSeconds: wallMs / 1000, cpuSeconds: after - before, stdout: '' }
  }

  /** Bytes on disk of everything that is stored, with the daemon stopped: then no log of RocksDB counts twice. */
  async storedBytes(): Promise<number> {
    await this.device.run('daemon', 'stop')
    this.device.close()
    return diskUsage(this.store)
  }

  async startDaemon(): Promise<void> {
    await this.device.run('status')
    await this.#learnPid()
  }

  async destroy(): Promise<void> {
    this.device.close()
    await cleanUp(this.#directory, false)
  }

  async #learnPid(): Promise<void> {
    this.#pid = (await this.device.status()).pid
  }

  /** The daemon has waited for them, so that their time counts as its own. */
  async #runnersEnded(): Promise<void> {
    const deadline = performance.now() + RUNNER_END_MS
    while (this.runners().length > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}

/** The whole of a tool's repository on disk. */
export { diskUsage }

/** Writes back what is pending, so that one contender's writes do not slow down the next. Nothing where figures mean nothing. */
export async function settleDisk({ small }: BenchOptions): Promise<void> {
  if (!small) await timed(['sync'])
}
