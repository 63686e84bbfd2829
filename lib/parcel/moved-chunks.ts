/**
 * Where the needed chunks of rewritten segments went. They keep their order and lie one after the other from block
 * `firstBlock` of the new log on, so a chunk's place follows from how many moved before it.
 */
import { SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import { slotCount } from './slot-masks.ts'

interface Old {
  mask: number
  /** Number of its first chunk among all that moved. */
  first: number
}

export class MovedChunks {
  readonly log: Buffer
  readonly #firstBlock: number
  readonly #logs = new Map<string, Map<number, Old>>()
  segments = 0
  /** Chunks that moved. */
  count = 0

  constructor(log: Buffer, firstBlock: number) {
    this.log = log
    this.#firstBlock = firstBlock
  }

  /** The chunks of that segment are the next ones that moved. */
  add(log: Buffer, block: number, mask: number): void {
    const name = log.toString('hex')
    let blocks = this.#logs.get(name)
    if (blocks === undefined) this.#logs.set(name, (blocks = new Map<number, Old>()))
    blocks.set(block, { mask, first: this.count })
    this.segments++
    this.count += slotCount(mask)
  }

  /** Those of one old log. */
  of(log: Buffer): MovedFrom | null {
    const blocks = this.#logs.get(log.toString('hex'))
    return blocks === undefined ? null : new MovedFrom(blocks, this.#firstBlock)
  }
}

export class MovedFrom {
  readonly #blocks: Map<number, Old>
  readonly #firstBlock: number

  constructor(blocks: Map<number, Old>, firstBlock: number) {
    this.#blocks = blocks
    this.#firstBlock = firstBlock
  }

  /** The new place of a chunk as block × 16 + slot; −1 for one that did not move. */
  find(block: number, slot: number): number {
    const old = this.#blocks.get(block)
    if (old === undefined || (old.mask & (1 << slot)) === 0) return -1
    const before = slotCount(old.mask & ((1 << slot) - 1))
    return this.#firstBlock * SEGMENT_CHUNKS_MAX + old.first + before
  }
}
