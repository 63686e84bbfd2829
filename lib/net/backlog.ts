/**
 * How much may be handed to a stream that has not sent it yet: it works best when it always has a next piece, and
 * whatever is handed over is in front of the next urgent answer. So about what it sends in `AHEAD_MS`.
 *
 * Bytes, milliseconds.
 */
import { MaxFilter } from './max-filter.ts'

const AHEAD_MS = 10
const BYTES_MIN = 96 * 1024
const BYTES_MAX = 1024 * 1024
const RATE_MS = 2000

export class Backlog {
  readonly #rates = new MaxFilter()
  #bytes = 0
  #sinceMs = 0

  /** Handed over since the stream had nothing left. */
  get bytes(): number {
    return this.#bytes
  }

  get limitBytes(): number {
    return Math.min(BYTES_MAX, Math.max(BYTES_MIN, this.#rates.value * AHEAD_MS))
  }

  wrote(bytes: number, drained: boolean, nowMs: number): void {
    if (this.#bytes === 0) this.#sinceMs = nowMs
    this.#bytes += bytes
    if (drained) this.drained(nowMs)
  }

  /** The stream takes more. */
  drained(nowMs: number): void {
    if (this.#bytes === 0) return
    this.#rates.add(this.#bytes / Math.max(1, nowMs - this.#sinceMs), nowMs, RATE_MS)
    this.#bytes = 0
  }
}
