/**
 * Watches the time of what was asked for:
 *
 * - what somebody waits for and is later than expected is asked of another source too (a hedge);
 * - bulk that is much later than expected, or owed by a silent source, may be asked of others;
 * - what a living source has owed for very long is asked anew.
 *
 * Late answers still count, whoever is first. Hedges have a budget: on a path that is merely overloaded they
 * would only double the load.
 */
import safetyCatch from 'safety-catch'
import type { Clock } from '../base/clock.ts'
import type { Blocks } from './blocks.ts'
import type { Pending, PendingBlock, Source } from './source.ts'
import type { WantedBlock } from './watch.ts'

/** Between two looks, while somebody waits and else. */
const DEMAND_LOOK_MS = 25
const LOOK_MS = 100
/** A look later than that: we were busy ourselves, and what came meanwhile was not read yet. */
const STALL_MS = 30
/** Bulk is moved when it is later than that many times what was expected, and at least that late. */
const MOVE_RATIO = 4
const MOVE_MS = 2000
/** Hedges in a row, and how many more a second. */
const HEDGES_MAX = 16
const HEDGES_PER_MS = 0.01

export interface LatenessOptions {
  clock: Clock
  sources: ReadonlySet<Source>
  blocks: Blocks
  signal: AbortSignal
  /** That source will not answer. */
  lost(source: Source, pending: Pending): void
  /** A source fell silent, or is not silent any more. */
  changed(source: Source): void
}

export class Lateness {
  readonly #opts: LatenessOptions
  #running = false
  #hedges = HEDGES_MAX
  #lookedAtMs = 0

  constructor(opts: LatenessOptions) {
    this.#opts = opts
  }

  /** Something was asked for. */
  start(): void {
    if (this.#running) return
    this.#running = true
    this.#run()
      .catch(safetyCatch)
      .finally(() => (this.#running = false))
  }

  async #run(): Promise<void> {
    const { clock, signal } = this.#opts
    let waitMs = DEMAND_LOOK_MS
    while (waitMs > 0) {
      const beforeMs = clock.monotonic()
      await clock.sleep(waitMs, signal)
      const stalledMs = Math.max(0, clock.monotonic() - beforeMs - waitMs)
      waitMs = this.#look(stalledMs)
    }
  }

  /** Milliseconds until the next look; 0 when nothing is owed. */
  #look(stalledMs: number): number {
    const { clock, sources } = this.#opts
    const nowMs = clock.monotonic()
    const passedMs = Math.min(1000, nowMs - this.#lookedAtMs)
    this.#hedges = Math.min(HEDGES_MAX, this.#hedges + passedMs * HEDGES_PER_MS)
    this.#lookedAtMs = nowMs
    let [busy, demand] = [false, false]
    for (const source of sources) {
      this.#lookAt(source, nowMs, stalledMs)
      busy ||= source.pending.size > 0
      demand ||= source.demandBytes > 0
    }
    return demand ? DEMAND_LOOK_MS : busy ? LOOK_MS : 0
  }

  #lookAt(source: Source, nowMs: number, stalledMs: number): void {
    const { lost, changed } = this.#opts
    if (source.check(nowMs, stalledMs)) changed(source)
    for (const id of source.overdue(nowMs)) {
      const pending = source.pending.get(id)!
      source.cancel(id)
      lost(source, pending)
    }
    if (stalledMs > STALL_MS) return
    for (const pending of source.pending.values()) {
      if (pending.kind === 'length') {
        if (source.silent) lost(source, pending)
      } else if (this.#mayMove(source, pending, nowMs)) this.#opts.blocks.retry(pending.block)
    }
  }

  #mayMove(
    source: Source,
    { block, demand, sent, lateAtMs }: PendingBlock,
    nowMs: number
  ): boolean {
    if (block.place !== 'asked' || nowMs < lateAtMs) return false
    if (!this.#anotherOffers(block) || !allLate(block, nowMs)) return false
    if (source.silent) return true
    if (!demand) {
      return nowMs - sent.sentAtMs > Math.max(MOVE_MS, MOVE_RATIO * sent.expectedMs)
    }
    if (this.#hedges < 1) return false
    this.#hedges--
    return true
  }

  #anotherOffers(block: WantedBlock): boolean {
    for (const source of this.#opts.sources) {
      if (!source.silent && source.offers(block)) return true
    }
    return false
  }
}

/** No answer is due from anybody who was asked for it. */
function allLate(block: WantedBlock, nowMs: number): boolean {
  for (const [source, id] of block.asked) {
    const pending = source.pending.get(id)
    if (pending?.kind === 'block' && nowMs < pending.lateAtMs) return false
  }
  return true
}
