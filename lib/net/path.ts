/**
 * What is known of the path from one source: its base round trip and its delivery rate, measured on the answers
 * themselves, and from these how many bytes may be under way.
 *
 * The model is that of BBR (Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 2016): the rate
 * is the largest that answers lately came at, the round trip the smallest lately seen; what is under way beyond
 * their product only queues, and whatever queues is in front of the next page fault. So bulk gets the product plus
 * a little; the little keeps the path full and shows when it became faster.
 *
 * Sizes are bytes, times milliseconds, rates bytes per millisecond.
 */
import { MaxFilter } from './max-filter.ts'

/** Before anything was measured. */
const BLOCK_BYTES_UNKNOWN = 64 * 1024
const BASE_MS_UNKNOWN = 100
/** Of bulk, beyond what the path itself holds. */
const SLACK_BLOCKS = 2
const SLACK_MS = 8
const WINDOW_BYTES_MAX = 8 * 1024 * 1024
/** The path counts as full after that many rounds in which the rate grew by less than that. */
const ROUNDS_FLAT = 3
const GROWTH = 1.25
/** A round trip that was not seen again for that long is measured anew, with nothing else under way. */
const BASE_MS_AGE = 10_000
const PROBE_MS_MAX = 1000
/** A sample that close confirms the base. */
const CONFIRM_RATIO = 1.1
const CONFIRM_MS = 0.5
/** The rate is the largest of between one and two times that long, or this many round trips. */
const RATE_MS = 1000
const RATE_ROUND_TRIPS = 10

/** Something asked for. Plain data, handed back with its answer. */
export interface Sent {
  bytes: number
  sentAtMs: number
  /** When the answer is expected if nothing changes, after it was asked for. */
  expectedMs: number
  /** Delivered before, and when that was. */
  deliveredBytes: number
  deliveredAtMs: number
  /** When the answer delivered last had been asked for. */
  firstSentAtMs: number
  /** Nothing else was under way. */
  alone: boolean
  /** There was less to ask for than the window allowed. */
  limited: boolean
}

export class Path {
  inFlightBytes = 0
  inFlight = 0
  #blockBytes = BLOCK_BYTES_UNKNOWN
  /** The quickest answer, with the time that sending it took. */
  #quickest = { latencyMs: 0, bytes: 0 }
  #baseAtMs = 0
  #probingSinceMs = -1
  readonly #rates = new MaxFilter()
  #deliveredBytes = 0
  #deliveredAtMs = 0
  #firstSentAtMs = 0
  #limitedUntilBytes = 0
  #full = false
  #flatRounds = 0
  #roundRate = 0
  #roundEndBytes = 0

  /** Round trip without queues; a guess before the first answer. */
  get baseMs(): number {
    if (!this.measured) return BASE_MS_UNKNOWN
    return this.#withoutSending(this.#quickest.latencyMs, this.#quickest.bytes)
  }

  /** Bytes per millisecond; 0 before anything was measured. */
  get rate(): number {
    return this.#rates.value
  }

  /** What an answer has, on average. */
  get blockBytes(): number {
    return this.#blockBytes
  }

  get measured(): boolean {
    return this.#quickest.latencyMs > 0
  }

  /** Bytes of bulk that may be under way. */
  get windowBytes(): number {
    const { rate } = this
    if (this.#probingSinceMs >= 0) return 1
    const held = rate * this.baseMs * (this.#full ? 1 : 2)
    const slack = SLACK_BLOCKS * this.#blockBytes + rate * SLACK_MS
    return Math.min(WINDOW_BYTES_MAX, held + slack)
  }

  /** How long an answer of that size would take from now on. */
  expectedMs(bytes: number): number {
    const rate = this.rate || RATE_UNKNOWN
    return this.baseMs + (this.inFlightBytes + bytes) / rate
  }

  sent(nowMs: number): Sent {
    if (this.inFlight === 0) {
      this.#deliveredAtMs = nowMs
      this.#firstSentAtMs = nowMs
    }
    const bytes = this.#blockBytes
    const sent: Sent = {
      bytes,
      sentAtMs: nowMs,
      expectedMs: this.expectedMs(bytes),
      deliveredBytes: this.#deliveredBytes,
      deliveredAtMs: this.#deliveredAtMs,
      firstSentAtMs: this.#firstSentAtMs,
      alone: this.inFlight === 0,
      limited: this.#deliveredBytes < this.#limitedUntilBytes
    }
    this.inFlight++
    this.inFlightBytes += bytes
    return sent
  }

  /** All that was wanted is under way, and there is still room: rates measured on it say little. */
  limited(): void {
    this.#limitedUntilBytes = this.#deliveredBytes + Math.max(1, this.inFlightBytes)
  }

  /** It will not come, or nobody waits for it any more. */
  forgotten(sent: Sent): void {
    this.inFlight--
    this.inFlightBytes = this.inFlight === 0 ? 0 : Math.max(0, this.inFlightBytes - sent.bytes)
  }

  /** An answer of `bytes` came. */
  delivered(sent: Sent, bytes: number, nowMs: number): void {
    this.forgotten(sent)
    this.#deliveredBytes += bytes
    this.#deliveredAtMs = nowMs
    this.#firstSentAtMs = sent.sentAtMs
    this.#blockBytes += (bytes - this.#blockBytes) / 8
    this.#measureRate(sent, nowMs)
    this.#measureBase(sent, bytes, nowMs)
    this.#countRound(sent)
  }

  /** To be called now and then: a probe that got no answer ends. */
  check(nowMs: number): void {
    if (this.#probingSinceMs < 0 || nowMs - this.#probingSinceMs < PROBE_MS_MAX) return
    this.#probingSinceMs = -1
    this.#baseAtMs = nowMs
  }

  #measureRate(sent: Sent, nowMs: number): void {
    const arrivedMs = nowMs - sent.deliveredAtMs
    // Answers that were held up and come together do not make the path faster than it was asked.
    const askedMs = sent.sentAtMs - sent.firstSentAtMs
    const tookMs = Math.max(arrivedMs, askedMs, 0.1)
    const rate = (this.#deliveredBytes - sent.deliveredBytes) / tookMs
    if (sent.limited && rate < this.rate) return
    this.#rates.add(rate, nowMs, Math.max(RATE_MS, RATE_ROUND_TRIPS * this.baseMs))
  }

  #measureBase(sent: Sent, bytes: number, nowMs: number): void {
    const latencyMs = Math.max(0.1, nowMs - sent.sentAtMs)
    const sampleMs = this.#withoutSending(latencyMs, bytes)
    const quicker = !this.measured || latencyMs < this.#quickest.latencyMs
    if (quicker || (sent.alone && this.#probingSinceMs >= 0)) this.#quickest = { latencyMs, bytes }
    else if (sampleMs > this.baseMs * CONFIRM_RATIO + CONFIRM_MS) {
      if (this.#probingSinceMs < 0 && nowMs - this.#baseAtMs > BASE_MS_AGE) {
        this.#probingSinceMs = nowMs
      }
      return
    }
    this.#baseAtMs = nowMs
    this.#probingSinceMs = -1
  }

  /** Before the rate is known, the round trip would be taken for the time that sending takes. */
  #withoutSending(latencyMs: number, bytes: number): number {
    return this.#full ? Math.max(0.1, latencyMs - bytes / this.rate) : latencyMs
  }

  #countRound(sent: Sent): void {
    if (this.#full || sent.deliveredBytes < this.#roundEndBytes) return
    this.#roundEndBytes = this.#deliveredBytes
    if (this.rate >= this.#roundRate * GROWTH) {
      this.#roundRate = this.rate
      this.#flatRounds = 0
    } else if (!sent.limited && ++this.#flatRounds >= ROUNDS_FLAT) this.#full = true
  }
}

/** What a path that was never measured is taken for: 8 Mb/s. */
export const RATE_UNKNOWN = 1000
