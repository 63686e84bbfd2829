/**
 * How many segments may be under way that nobody waits for yet: so many that the link is never idle, so few that a page
 * fault waits behind next to nothing. As TCP Vegas has it: with `n` under way and answers that take `latency` instead
 * of `base`, n x (1 - base / latency) of them wait in some queue.
 */

const SIZE_MAX = 64
/** Waiting in queues: fewer, and more may be under way; more, and it is less. */
const QUEUED_LOW = 1
const QUEUED_HIGH = 3
/** The shortest answer is forgotten slowly: routes change. */
const FORGET = 1.002

export class AheadWindow {
  #size = 2
  #baseMs = Number.POSITIVE_INFINITY
  #starting = true

  get size(): number {
    return Math.max(1, Math.floor(this.#size))
  }

  /** An answer came after that time; so many were under way when it was asked for, itself too. */
  answered(latencyMs: number, underWay: number): void {
    this.#baseMs = Math.min(this.#baseMs * FORGET, latencyMs)
    const queued = underWay * (1 - this.#baseMs / latencyMs)
    if (queued > QUEUED_HIGH) {
      this.#starting = false
      this.#size -= 1 / 2
    } else if (queued < QUEUED_LOW && underWay >= this.size) {
      this.#size += this.#starting ? 1 : 1 / this.#size
    }
    this.#size = Math.min(SIZE_MAX, Math.max(1, this.#size))
  }
}
