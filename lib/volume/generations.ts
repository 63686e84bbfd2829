/**
 * Which slot holds which chunk, in memory. `top` takes what is written; `frozen`, beneath it, does not change until
 * it is dropped (a version has it) or thawed (no version has it).
 *
 * A tombstone slot belongs to one generation and counts the chunks that depend on it there.
 */
import { assert } from '../base/errors.ts'
import { ChunkMap, dataEntry, isTombstone, slotOf, tombstoneEntry } from './chunk-map.ts'

/** What a range of chunks is in the overlay. */
export const STATE = { NONE: 0, DATA: 1, ZERO: 2 } as const
export type ChunkState = (typeof STATE)[keyof typeof STATE]

export class Generations {
  readonly chunks: number
  /** Answer of the last `find`: slots in a row start here when it is data. */
  foundState: ChunkState = STATE.NONE
  foundSlot = 0
  readonly #unused: (slot: number) => void
  readonly #tombstones: Map<number, number>
  #top: ChunkMap
  #frozen: ChunkMap | null = null

  /**
   * @param top what is there at the start
   * @param tombstones its tombstone slots, with how many chunks depend on each
   * @param unused told of each slot that newer ones replaced
   */
  constructor(top: ChunkMap, tombstones: Map<number, number>, unused: (slot: number) => void) {
    this.chunks = top.chunks
    this.#top = top
    this.#tombstones = tombstones
    this.#unused = unused
  }

  get top(): ChunkMap {
    return this.#top
  }

  get frozen(): ChunkMap | null {
    return this.#frozen
  }

  /** How many chunks from `first` on, at most `max`, are alike. */
  find(first: number, max: number): number {
    let entry = this.#top.get(first)
    let count = this.#top.run(first, max)
    if (entry === 0 && this.#frozen !== null) {
      entry = this.#frozen.get(first)
      count = this.#frozen.run(first, count)
    }
    if (entry === 0) this.foundState = STATE.NONE
    else if (isTombstone(entry)) this.foundState = STATE.ZERO
    else {
      this.foundState = STATE.DATA
      this.foundSlot = slotOf(entry)
    }
    return count
  }

  /** The slot that a write may replace in place: what the top has for the chunk; −1 when it has none. */
  slotInTop(chunk: number): number {
    const entry = this.#top.get(chunk)
    return entry === 0 || isTombstone(entry) ? -1 : slotOf(entry)
  }

  data(chunk: number, slot: number): void {
    const old = this.#top.set(chunk, dataEntry(slot))
    if (old !== 0) this.#replaced(old, 1)
  }

  tombstone(first: number, count: number, slot: number): void {
    this.#tombstones.set(slot, count)
    this.#top.fill(first, count, tombstoneEntry(slot), this.#replaced)
  }

  /** The top becomes the frozen generation. */
  freeze(): ChunkMap {
    assert(this.#frozen === null, 'an overlay is frozen already')
    this.#frozen = this.#top
    this.#top = new ChunkMap(this.chunks)
    return this.#frozen
  }

  /** Forgets the frozen generation; returns its slots, each once. */
  drop(): number[] {
    const slots: number[] = []
    for (const { entry, count } of this.#frozen!.entries()) {
      if (this.#release(entry, count)) slots.push(slotOf(entry))
    }
    this.#frozen = null
    return slots
  }

  /** Puts the frozen generation under what was written since: one generation again. */
  thaw(): void {
    const newer = this.#top
    this.#top = this.#frozen!
    this.#frozen = null
    for (const { first, count, entry } of newer.entries()) {
      this.#top.fill(first, count, entry, this.#replaced)
    }
  }

  readonly #replaced = (entry: number, chunks: number): void => {
    if (this.#release(entry, chunks)) this.#unused(slotOf(entry))
  }

  /** Chunks do not depend on an entry any more: does nothing depend on its slot? */
  #release(entry: number, chunks: number): boolean {
    if (!isTombstone(entry)) return true
    const slot = slotOf(entry)
    const left = this.#tombstones.get(slot)! - chunks
    if (left > 0) this.#tombstones.set(slot, left)
    else this.#tombstones.delete(slot)
    return left === 0
  }
}
