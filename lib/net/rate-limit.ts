/**
 * How much background transfers may take in one direction: a bucket that fills at the limit's rate. What somebody
 * waits for passes, but is taken from it, so it may owe something for a while.
 *
 * For a share of what the path does, that is measured first, and now and then anew: for some seconds in which
 * there was always something to transfer nothing is held back.
 *
 * Bytes, milliseconds.
 */
import type { Rate } from '../base/rate.ts'

/** The bucket holds what comes in that time, and at least that much. */
const BURST_MS = 250
const BURST_BYTES_MIN = 16 * 1024
/** It may owe what comes in that time, or that much: demand does not stop background transfers for long. */
const DEBT_MS = 5000
const DEBT_BYTES_MIN = 128 * 1024
const MEASURE_MS = 2000
const MEASURE_AGAIN_MS = 300_000
/** After a pause that long a measurement begins anew. */
const GAP_MS = 500

export class RateLimit {
  #rate: Rate = null
  #bytes = 0
  #atMs = 0
  /** Measured, bytes per millisecond. */
  #capacity = 0
  #measuredAtMs = Number.NEGATIVE_INFINITY
  #window = { sinceMs: 0, lastMs: Number.NEGATIVE_INFINITY, bytes: 0 }

  set(rate: Rate, nowMs: number): void {
    if (JSON.stringify(rate) === JSON.stringify(this.#rate)) return
    this.#rate = rate
    this.#bytes = 0
    this.#atMs = nowMs
  }

  /** Bytes that background transfers may begin with now; infinite without a limit, 0 or less when none. */
  allowance(nowMs: number): number {
    const perMs = this.#perMs(nowMs)
    if (perMs === null) return Number.POSITIVE_INFINITY
    this.#fill(perMs, nowMs)
    return this.#bytes
  }

  /** Milliseconds until `allowance` is more than `bytes`. */
  waitMs(nowMs: number, bytes = 0): number {
    const perMs = this.#perMs(nowMs)
    if (perMs === null) return 0
    this.#fill(perMs, nowMs)
    return this.#bytes > bytes ? 0 : Math.max(1, Math.ceil((bytes + 1 - this.#bytes) / perMs))
  }

  /** So much was transferred, for whomever. */
  used(bytes: number, nowMs: number): void {
    const perMs = this.#perMs(nowMs)
    if (perMs !== null) {
      this.#fill(perMs, nowMs)
      this.#bytes = Math.max(this.#bytes - bytes, -Math.max(DEBT_BYTES_MIN, perMs * DEBT_MS))
    }
    this.#measure(bytes, nowMs)
  }

  /** There is nothing to transfer: what is measured now would say nothing. */
  idle(): void {
    this.#window.lastMs = Number.NEGATIVE_INFINITY
  }

  /** Null: as much as there is. */
  #perMs(nowMs: number): number | null {
    if (this.#rate === null) return null
    if ('bytesPerS' in this.#rate) return this.#rate.bytesPerS / 1000
    const measuring = nowMs - this.#measuredAtMs > MEASURE_AGAIN_MS
    return measuring ? null : this.#rate.share * this.#capacity
  }

  #fill(perMs: number, nowMs: number): void {
    const most = Math.max(BURST_BYTES_MIN, perMs * BURST_MS)
    this.#bytes = Math.min(most, this.#bytes + Math.max(0, nowMs - this.#atMs) * perMs)
    this.#atMs = nowMs
  }

  #measure(bytes: number, nowMs: number): void {
    if (this.#rate === null || !('share' in this.#rate)) return
    if (nowMs - this.#measuredAtMs <= MEASURE_AGAIN_MS) return
    const window = this.#window
    if (nowMs - window.lastMs > GAP_MS) {
      this.#window = { sinceMs: nowMs, lastMs: nowMs, bytes: 0 }
      return
    }
    window.lastMs = nowMs
    window.bytes += bytes
    const ms = nowMs - window.sinceMs
    if (ms < MEASURE_MS) return
    this.#capacity = window.bytes / ms
    this.#measuredAtMs = nowMs
    this.#bytes = 0
    this.#atMs = nowMs
    this.idle()
  }
}
