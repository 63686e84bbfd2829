/**
 * A runner that is loaded and waits for its parcel, so that a resume does not wait for a process to start: that is about
 * half of a resume whose data are here. One at a time, and only while no other runner is there.
 *
 * It is a child that reads one line: when the daemon ends, however that happens, it reads the end of its input and ends.
 */
import { once } from 'node:events'
import { mkdir, rename, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Socket } from 'node:net'
import safetyCatch from 'safety-catch'
import { spawnRunner, type SpawnedRunner } from './spawn-runner.ts'

const PROGRAM = fileURLToPath(new URL('../../runner/standby.js', import.meta.url))
/** After the last runner ended, or the daemon started. */
const DELAY_MS = 2000
/** It takes some 60 MB: not where memory is short. */
const FREE_BYTES_MIN = 512 * 1024 * 1024
const END_MS = 2000

export interface StandbyOptions {
  /** For its log, until it has a parcel. */
  directory: string
  /** May one be started now? */
  wanted(): boolean
}

export class Standby {
  readonly #opts: StandbyOptions
  #child: SpawnedRunner | null = null
  #timer: NodeJS.Timeout | null = null
  #starting: Promise<void> | null = null
  #closed = false

  constructor(opts: StandbyOptions) {
    this.#opts = opts
  }

  /** There may be reason to have one soon. */
  plan(): void {
    if (this.#closed || this.#timer !== null || this.#child !== null) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#starting ??= this.#start()
        .catch(safetyCatch) // a resume starts its own then
        .finally(() => (this.#starting = null))
    }, DELAY_MS).unref()
  }

  /** It listens there soon, and logs there; null when there is none, or it is not well. */
  async become(socket: string, logFile: string): Promise<SpawnedRunner | null> {
    const child = this.#take()
    if (child === null || child.ended !== null) return null
    try {
      await rename(logFile, logFile.replace(/\.log$/, '.before.log')).catch(safetyCatch)
      await rename(this.#log, logFile)
      const stdin = child.process.stdin as Socket
      stdin.on('error', safetyCatch)
      stdin.end(`${socket}\n`)
      return child
    } catch (err) {
      safetyCatch(err)
      child.process.kill('SIGKILL')
      return null
    }
  }

  /** Another runner is about to start: there is no need for this one. */
  drop(): void {
    this.#take()?.process.kill('SIGKILL')
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    await this.#starting
    const child = this.#take()
    if (child === null || child.ended !== null) return
    const ended = once(child.process, 'exit', { signal: AbortSignal.timeout(END_MS) })
    child.process.kill('SIGKILL')
    await ended.catch(safetyCatch)
    await rm(this.#log, { force: true })
  }

  get #log(): string {
    return path.join(this.#opts.directory, 'standby.log')
  }

  #take(): SpawnedRunner | null {
    const child = this.#child
    this.#child = null
    return child
  }

  async #start(): Promise<void> {
    if (this.#closed || this.#child !== null || !this.#opts.wanted()) return
    if (os.freemem() < FREE_BYTES_MIN) return
    const { directory } = this.#opts
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await rm(this.#log, { force: true })
    const name = path.join(directory, 'standby')
    const child = await spawnRunner(PROGRAM, name, this.#log, 'pipe')
    // It keeps nobody from ending, least of all this process.
    ;(child.process.stdin as Socket).unref()
    if (this.#opts.wanted()) this.#child = child
    else child.process.kill('SIGKILL')
  }
}
