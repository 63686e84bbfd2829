/**
 * The wanted blocks and their queues:
 *
 *   queued ─▶ asked ─▶ done
 *    │  ▲        │
 *    ▼  │ have   │ gone, silent, unavailable
 *   parked ◀─────┘
 *
 * One WantedBlock for each (log, index), however many jobs want it.
 */
import type { Source } from './source.ts'
import type { LogWatch, WantedBlock } from './watch.ts'

export class Blocks {
  /** By rank, those that were asked for in vain before the others: 2 × rank + (retried ? 0 : 1). */
  readonly #queues = Array.from({ length: 8 }, () => new Set<WantedBlock>())
  readonly #onqueued: () => void

  /** `onqueued`: there is something to choose from. */
  constructor(onqueued: () => void) {
    this.#onqueued = onqueued
  }

  want(watch: LogWatch, index: number, rank: number): WantedBlock {
    let block = watch.blocks.get(index)
    if (block === undefined) {
      block = {
        watch,
        log: watch.id,
        index,
        rank,
        jobs: new Set(),
        asked: new Map(),
        retried: false,
        place: 'queued'
      }
      watch.blocks.set(index, block)
      this.#queue(block)
    } else if (rank < block.rank) this.#raise(block, rank)
    return block
  }

  /** Is nothing queued? */
  get empty(): boolean {
    return this.#queues.every((queue) => queue.size === 0)
  }

  /** Queued blocks in the order in which they should be asked for. */
  mostUrgent(max: number): WantedBlock[] {
    const blocks: WantedBlock[] = []
    for (const queue of this.#queues) {
      for (const block of queue) {
        if (blocks.push(block) === max) return blocks
      }
    }
    return blocks
  }

  asked(block: WantedBlock, source: Source, id: number): void {
    this.#queueOf(block).delete(block)
    block.place = 'asked'
    block.asked.set(source, id)
  }

  /** No source offers it now. */
  park(block: WantedBlock): void {
    this.#queueOf(block).delete(block)
    block.place = 'parked'
    block.watch.parked.add(block)
  }

  /** Sources of that log have changed. */
  unpark(watch: LogWatch): void {
    for (const block of watch.parked) {
      watch.parked.delete(block)
      this.#queue(block)
    }
  }

  /** That source will not answer. */
  lost(block: WantedBlock, source: Source): void {
    block.asked.delete(source)
    if (block.asked.size === 0 && block.place !== 'done') this.retry(block)
  }

  /** Others may be asked too. */
  retry(block: WantedBlock): void {
    this.#leave(block)
    block.retried = true
    this.#queue(block)
  }

  /** Nobody wants it any more, or it is here. */
  drop(block: WantedBlock): void {
    this.#leave(block)
    block.place = 'done'
    block.watch.blocks.delete(block.index)
    for (const [source, id] of block.asked) source.cancel(id)
    block.asked.clear()
  }

  /** Somebody wants it more urgently than those before. */
  #raise(block: WantedBlock, rank: number): void {
    const { place } = block
    this.#leave(block)
    block.rank = rank
    // A silent source may be asked for what somebody waits for.
    if (place === 'queued' || place === 'parked') this.#queue(block)
    for (const [source, id] of block.asked) source.raise(id, rank)
  }

  #leave(block: WantedBlock): void {
    if (block.place === 'queued') this.#queueOf(block).delete(block)
    if (block.place === 'parked') block.watch.parked.delete(block)
  }

  #queueOf(block: WantedBlock): Set<WantedBlock> {
    return this.#queues[2 * block.rank + (block.retried ? 0 : 1)]
  }

  #queue(block: WantedBlock): void {
    block.place = 'queued'
    this.#queueOf(block).add(block)
    this.#onqueued()
  }
}
