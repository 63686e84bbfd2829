/**
 * Disk space for a running VM. A ballast file holds room for the commit of all of its RAM until the commit
 * begins; while it runs, low space pauses it before any write can fail.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../base/errors.ts'

const BALLAST = 'reserve'
const CHECK_MS = 2000
/** The VM is paused when less is free, and goes on when twice as much is. */
const LOW_BYTES = 64 * 1024 ** 2

/** Sets the ballast to that many bytes, 0 removes it. Rejects with `DISK_FULL`, saying how much is missing. */
export async function reserveCommit(directory: string, bytes: number): Promise<void> {
  const file = path.join(directory, BALLAST)
  const has = await stat(file).then(
    (found) => found.blocks * 512,
    () => 0
  )
  if (bytes === 0) return rm(file, { force: true })
  if (has >= bytes) return
  // The overlay of the RAM reserves as much again, and the VM should not be paused at once.
  const missing = 2 * bytes - has + 2 * LOW_BYTES - (await freeBytes(directory))
  if (missing > 0) throw noRoom(missing)
  await refillReserve(directory, bytes)
}

/** Sets the ballast to that many bytes, asking for no more room than that. Rejects with `DISK_FULL`. */
export async function refillReserve(directory: string, bytes: number): Promise<void> {
  const file = path.join(directory, BALLAST)
  const child = spawn('fallocate', ['-l', String(bytes), file], { stdio: 'ignore' })
  const [code] = (await once(child, 'close')) as [number | null]
  if (code === 0) return
  await rm(file, { force: true })
  throw noRoom(bytes)
}

/** Rejects with `DISK_FULL` unless that much is free. */
export async function requireFree(directory: string, bytes: number): Promise<void> {
  const missing = bytes + LOW_BYTES - (await freeBytes(directory))
  if (missing > 0) throw noRoom(missing)
}

function noRoom(missingBytes: number): HyperparcelError {
  const mib = Math.ceil(missingBytes / 1024 ** 2)
  return new HyperparcelError('DISK_FULL', `The disk lacks ${mib} MiB for the VM`, {
    hint: `Free ${mib} MiB: its RAM and a suspend must fit.`,
    context: { missing_bytes: missingBytes }
  })
}

export async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}

export interface SpaceWatchHandlers {
  onlow(freeBytes: number): Promise<void>
  onenough(): Promise<void>
}

export class SpaceWatch {
  readonly #directory: string
  readonly #handlers: SpaceWatchHandlers
  #timer: NodeJS.Timeout | null = null
  #low = false
  #checking = false

  constructor(directory: string, handlers: SpaceWatchHandlers) {
    this.#directory = directory
    this.#handlers = handlers
  }

  start(): void {
    this.stop()
    this.#timer = setInterval(() => this.check(), CHECK_MS)
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  /** The VM stopped by itself for lack of space: let it go on when there is some. */
  watchForEnough(): void {
    this.#low = true
    this.start()
  }

  check(): void {
    if (this.#checking) return
    this.#checking = true
    this.#check()
      .catch(safetyCatch)
      .finally(() => (this.#checking = false))
  }

  async #check(): Promise<void> {
    const free = await freeBytes(this.#directory)
    if (!this.#low && free < LOW_BYTES) {
      this.#low = true
      await this.#handlers.onlow(free)
    } else if (this.#low && free > 2 * LOW_BYTES) {
      this.#low = false
      await this.#handlers.onenough()
    }
  }
}
