/**
 * What is stored here for one fleet: which blocks, how many bytes, and when a device last got some of each range.
 *
 * A block counts with its bytes and what the database keeps beside it. Hashes over blocks that were evicted stay
 * (`store/keep-tree.ts`) and are not counted: some 80 bytes a block.
 */
import { BlockSet } from '../../base/block-set.ts'
import { RANGE_BLOCKS } from '../../format/cache-state.ts'

/** Beside a block: its hash, and its place in tables. */
export const BLOCK_OVERHEAD_BYTES = 128

export interface HeldRange {
  log: Buffer
  /** First block ÷ `RANGE_BLOCKS`. */
  range: number
  bytes: number
  /** Milliseconds since the epoch; 0 where nobody got any of it. */
  usedMs: number
}

export class Held {
  readonly blocks = new BlockSet()
  /** By log (hex), then range. */
  readonly #ranges = new Map<string, Map<number, HeldRange>>()
  #bytes = 0

  /** Of all blocks, with what lies beside them. */
  get bytes(): number {
    return this.#bytes
  }

  /** A block is stored; once more is no news. */
  add(log: Buffer, block: number, blockBytes: number): void {
    if (!this.blocks.of(log).add(block)) return
    this.#count(this.#range(log, block), blockBytes + BLOCK_OVERHEAD_BYTES)
  }

  /** A block is gone. */
  remove(log: Buffer, block: number, blockBytes: number): void {
    if (!this.blocks.has(log, block)) return
    const gone = new BlockSet()
    gone.add(log, block)
    this.blocks.removeAll(gone)
    this.#count(this.#range(log, block), -blockBytes - BLOCK_OVERHEAD_BYTES)
  }

  /** A device got that block. */
  use(log: Buffer, block: number, nowMs: number): void {
    const range = this.#range(log, block)
    range.usedMs = Math.max(range.usedMs, nowMs)
  }

  /** Those with something in them. */
  ranges(): HeldRange[] {
    return [...this.#ranges.values()].flatMap((ranges) =>
      [...ranges.values()].filter(({ bytes }) => bytes > 0)
    )
  }

  #count(range: HeldRange, bytes: number): void {
    range.bytes += bytes
    this.#bytes += bytes
  }

  #range(log: Buffer, block: number): HeldRange {
    const name = log.toString('hex')
    let ranges = this.#ranges.get(name)
    if (ranges === undefined) this.#ranges.set(name, (ranges = new Map<number, HeldRange>()))
    const number = Math.floor(block / RANGE_BLOCKS)
    let range = ranges.get(number)
    if (range === undefined) {
      range = { log: Buffer.from(log), range: number, bytes: 0, usedMs: 0 }
      ranges.set(number, range)
    }
    return range
  }
}
