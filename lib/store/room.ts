/**
 * Keeps the disk from filling up under the store: a RocksDB that met a full disk once refuses every write until it is
 * opened anew, and what it holds in memory needs room to be written.
 *
 * Every write claims its bytes twice: for RocksDB's journal now, for its table at the next flush. Small writes (records
 * that give something back, for instance) may use the last of the room, large ones leave it to them.
 */
import { statfs } from 'node:fs/promises'
import { HyperparcelError } from '../base/errors.ts'

const SMALL_BYTES = 64 * 1024
/** Left free by large writes, and by small ones. */
const MARGIN_BYTES = 24 * 1024 ** 2
const SMALL_MARGIN_BYTES = 4 * 1024 ** 2
/** RocksDB writes a table when it holds that much in memory. */
const UNWRITTEN_BYTES_MAX = 64 * 1024 ** 2
/** For that long an answer of the file system counts. */
const ASK_AGAIN_MS = 250

export interface RoomOptions {
  directory: string
  /** Bytes free there; asks the file system by default. */
  freeBytes?: (directory: string) => Promise<number>
}

export class Room {
  readonly #directory: string
  readonly #freeBytes: (directory: string) => Promise<number>
  /** Claimed since the last flush. */
  #unwritten = 0
  /** As last asked, less what was claimed since. */
  #free = 0
  #askedAt = -Infinity
  /** Many writes at once share one question. */
  #asking: Promise<void> | null = null

  constructor(opts: RoomOptions) {
    this.#directory = opts.directory
    this.#freeBytes = opts.freeBytes ?? freeBytes
  }

  /** Rejects with `DISK_FULL` when a write of that many bytes would leave too little. */
  async claim(bytes: number): Promise<void> {
    const margin = bytes < SMALL_BYTES ? SMALL_MARGIN_BYTES : MARGIN_BYTES
    if (this.#missing(bytes, margin) > 0 || performance.now() - this.#askedAt > ASK_AGAIN_MS) {
      await (this.#asking ??= this.#ask())
    }
    const missing = this.#missing(bytes, margin)
    if (missing > 0) throw diskFull(missing)
    this.#free -= bytes
    this.#unwritten = Math.min(this.#unwritten + bytes, UNWRITTEN_BYTES_MAX)
  }

  /** Everything claimed before the flush began is on the disk; `unwritten` as it was then. */
  flushed(unwritten: number): void {
    this.#unwritten = Math.max(0, this.#unwritten - unwritten)
  }

  get unwritten(): number {
    return this.#unwritten
  }

  async #ask(): Promise<void> {
    try {
      this.#free = await this.#freeBytes(this.#directory)
      this.#askedAt = performance.now()
    } finally {
      this.#asking = null
    }
  }

  #missing(bytes: number, margin: number): number {
    return margin + this.#unwritten + 2 * bytes - this.#free
  }
}

/** Bytes free on the file system of that directory. */
export async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}

function diskFull(missingBytes: number): HyperparcelError {
  const mib = Math.ceil(missingBytes / 1024 ** 2)
  return new HyperparcelError('DISK_FULL', 'There is too little space left on the disk', {
    hint: `Free ${mib} MiB or more and try again: nothing was lost.`,
    context: { missing_bytes: missingBytes }
  })
}
