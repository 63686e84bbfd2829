/**
 * How many blocks may be under way from one peer. Grows while answers come about as fast as the fastest so far,
 * shrinks when they queue up. (A page fault overtakes them in the far side's queue anyway; what it waits behind is
 * what has been written to the stream, which `serve.ts` keeps small.)
 */
export const WINDOW_MAX = 32
const WINDOW_MIN = 4
/** Of these, kept free for what somebody waits for. */
const DEMAND_RESERVE = 8
/** Answers later than this many times the fastest one, and than this, are queueing. */
const SLACK = 4
const SLACK_MS_MIN = 300

export class Window {
  #size = 8
  #fastestMs = Number.POSITIVE_INFINITY

  /** Blocks under way at most, when all are for somebody who waits. */
  get demand(): number {
    return this.bulk + DEMAND_RESERVE
  }

  /** Blocks under way at most, else. */
  get bulk(): number {
    return Math.floor(this.#size)
  }

  /** An answer took that long. */
  answered(latencyMs: number): void {
    // Forget the past slowly: routes change.
    this.#fastestMs = Math.min(this.#fastestMs * 1.001, latencyMs)
    const queueing = latencyMs > Math.max(SLACK_MS_MIN, SLACK * this.#fastestMs)
    const size = this.#size + (queueing ? -0.5 : 0.5)
    this.#size = Math.min(WINDOW_MAX - DEMAND_RESERVE, Math.max(WINDOW_MIN, size))
  }

  /** Later than this, an answer is overdue although the peer lives. */
  get patienceMs(): number {
    const fastestMs = Number.isFinite(this.#fastestMs) ? this.#fastestMs : 1000
    return Math.max(30_000, 20 * SLACK * fastestMs)
  }
}
