/**
 * Which block next, from whom: a pure decision.
 *
 * Blocks come in the order in which they are wanted. Each goes to the source that is expected to be done with it
 * first, counting what it owes already and what waits for it; where that one has no room, the block waits rather
 * than go to a slower one that would be done later.
 *
 * - What somebody waits for may go to any source, beyond the window for bulk.
 * - Bulk goes to the closest: sources much further away get some only where they are much faster, or where the
 *   close ones do not have it; and a small share, to know how fast they are.
 * - A silent source is asked only for what somebody waits for and nobody else has.
 * - Nothing is asked for twice from one source (`offers` says so).
 */
import { RATE_UNKNOWN } from './path.ts'
import { FOREGROUND } from './watch.ts'

export interface ChoosableBlock {
  log: string
  index: number
  /** 0 where somebody waits for it; larger is less urgent. */
  rank: number
}

/** Bytes, milliseconds, bytes per millisecond. */
export interface ChoosableSource<B extends ChoosableBlock> {
  /** Round trip without queues. */
  baseMs: number
  /** 0 when not measured. */
  rate: number
  /** Expected size of an answer. */
  blockBytes: number
  inFlight: number
  inFlightBytes: number
  /** Of these, what somebody waits for. */
  demandBytes: number
  /** Bytes of bulk that may be under way from it. */
  windowBytes: number
  /** For so long it should have sent something and did not. */
  lateMs: number
  /** It is late beyond all expectation. */
  silent: boolean
  /** It asked not to be asked for what is in the background now. */
  paused: boolean
  /** What comes from it is not limited. */
  free: boolean
  /** Bytes that may be asked of it just to know how fast it is. */
  probeBytes: number
  /** It has that block, and was not asked for it yet. */
  offers(block: B): boolean
}

export interface Choice<B, S> {
  /** `probe`: only to know how fast that source is. */
  requests: { block: B; source: S; probe: boolean }[]
  /** No source that may be asked offers these: look again when that changes. */
  hopeless: B[]
  /** Sources that could have taken more than was wanted of them. */
  idle: S[]
}

export interface ChoiceLimits {
  /** Bytes of what is in the background that may be asked for now. */
  bulkBytes: number
  /** Nothing less urgent than this is asked for. */
  rankMax: number
}

/** Requests that may be under way from one source. */
export const REQUESTS_MAX = 256
/** What somebody waits for may exceed the window by that. */
export const DEMAND_BYTES = 512 * 1024
/** A source belongs to the close ones up to these many times the closest round trip, or that much more. */
const CLOSE_RATIO = 4
const CLOSE_MS = 10
/** A far source that is that many times faster than the close ones is worth its way. */
const FASTER = 4
/** Shorter round trips are not worth telling apart. */
const BASE_MS_MIN = 0.2

const UNLIMITED: ChoiceLimits = { bulkBytes: Number.POSITIVE_INFINITY, rankMax: 3 }

export function choose<B extends ChoosableBlock, S extends ChoosableSource<B>>(
  blocks: readonly B[],
  sources: readonly S[],
  limits: ChoiceLimits = UNLIMITED
): Choice<B, S> {
  const choice: Choice<B, S> = { requests: [], hopeless: [], idle: [] }
  const all = sources.map((source) => new Candidate<B, S>(source))
  let { bulkBytes } = limits
  for (const block of blocks) {
    const demand = block.rank === 0
    const offering = all.filter(({ source }) => source.offers(block))
    const live = offering.filter(({ source }) => !source.silent)
    if (offering.length === 0 || (live.length === 0 && !demand)) {
      choice.hopeless.push(block)
      continue
    }
    const background = block.rank > FOREGROUND
    const held = background && (block.rank > limits.rankMax || bulkBytes <= 0)
    const ready = background
      ? live.filter(({ source }) => !source.paused && (source.free || !held))
      : live
    const able = demand ? (live.length > 0 ? live : offering) : closeOnes(ready)
    const best = soonest(able, demand)
    if (best === null) continue
    if (!best.hasRoom(demand)) best.waitingBytes += best.source.blockBytes
    else {
      const probe = !demand && best.far
      best.take(probe, demand)
      if (!best.source.free) bulkBytes -= best.source.blockBytes
      choice.requests.push({ block, source: best.source, probe })
    }
    if (!all.some((candidate) => candidate.hasRoom(demand))) return choice
  }
  choice.idle = all.filter((candidate) => candidate.hasRoom(false)).map(({ source }) => source)
  return choice
}

class Candidate<B extends ChoosableBlock, S extends ChoosableSource<B>> {
  readonly source: S
  inFlight: number
  inFlightBytes: number
  demandBytes: number
  probeBytes: number
  /** Of more urgent blocks that it will have to send first. */
  waitingBytes = 0
  /** Asked only to be measured. */
  far = false

  constructor(source: S) {
    this.source = source
    this.inFlight = source.inFlight
    this.inFlightBytes = source.inFlightBytes
    this.demandBytes = source.demandBytes
    this.probeBytes = source.probeBytes
  }

  get rate(): number {
    return this.source.rate || RATE_UNKNOWN
  }

  get baseMs(): number {
    return Math.max(BASE_MS_MIN, this.source.baseMs)
  }

  /** When it would be done with one block more. Demand overtakes bulk, but for what is being sent. */
  doneMs(demand: boolean): number {
    const { lateMs, blockBytes } = this.source
    const bulkBytes = this.inFlightBytes - this.demandBytes
    const before = demand
      ? this.demandBytes + Math.min(bulkBytes, blockBytes)
      : this.inFlightBytes + this.waitingBytes
    return lateMs + this.baseMs + (before + blockBytes) / this.rate
  }

  hasRoom(demand: boolean): boolean {
    if (this.inFlight >= REQUESTS_MAX) return false
    const { windowBytes, blockBytes } = this.source
    const after = this.inFlightBytes + blockBytes
    return this.inFlight === 0 || after <= windowBytes + (demand ? DEMAND_BYTES : 0)
  }

  take(probe: boolean, demand: boolean): void {
    this.inFlight++
    this.inFlightBytes += this.source.blockBytes
    if (demand) this.demandBytes += this.source.blockBytes
    if (probe) this.probeBytes -= this.source.blockBytes
  }
}

function soonest<C extends { doneMs(demand: boolean): number }>(
  candidates: C[],
  demand: boolean
): C | null {
  let best: C | null = null
  let bestMs = Number.POSITIVE_INFINITY
  for (const candidate of candidates) {
    const doneMs = candidate.doneMs(demand)
    if (doneMs < bestMs) [best, bestMs] = [candidate, doneMs]
  }
  return best
}

/** Those that bulk may go to; far ones among them only if they are much faster, or to be measured. */
function closeOnes<B extends ChoosableBlock, S extends ChoosableSource<B>>(
  ready: Candidate<B, S>[]
): Candidate<B, S>[] {
  if (ready.length < 2) return ready
  let closest = Number.POSITIVE_INFINITY
  for (const { baseMs } of ready) closest = Math.min(closest, baseMs)
  const limit = Math.max(CLOSE_RATIO * closest, closest + CLOSE_MS)
  const close = ready.filter(({ baseMs }) => baseMs <= limit)
  if (close.length === ready.length) return ready
  let rate = 0
  for (const candidate of close) rate += candidate.source.rate
  const far = ready.filter(({ baseMs }) => baseMs > limit)
  for (const candidate of far) {
    candidate.far = rate === 0 || candidate.source.rate < FASTER * rate
    if (!candidate.far) close.push(candidate)
    else if (candidate.probeBytes >= candidate.source.blockBytes && candidate.hasRoom(false)) {
      return [candidate]
    }
  }
  return close
}
