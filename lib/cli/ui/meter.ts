/** From the progress that a use case reports to what is shown: rate and time left. */
import type { Clock } from '../../base/clock.ts'
import type { Progress } from '../../base/progress.ts'

export interface ProgressView extends Progress {
  /** Units per second over the last seconds; null until there is something to say. */
  rate: number | null
  /** Null where the total or the rate is unknown. */
  etaMs: number | null
  /** Since this phase began. */
  elapsedMs: number
}

const WINDOW_MS = 5000
/** Below this a rate would be noise. */
const SPAN_MS_MIN = 300

interface Sample {
  at: number
  done: number
}

/** One phase after the other; a new phase, or a count that goes back, starts anew. */
export class ProgressMeter {
  readonly #clock: Clock
  #phase: string | null = null
  #startedAt = 0
  #samples: Sample[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  update(progress: Progress): ProgressView {
    const at = this.#clock.monotonic()
    const done = progress.done ?? 0
    const last = this.#samples.at(-1)
    if (progress.phase !== this.#phase || (last !== undefined && done < last.done)) {
      this.#phase = progress.phase
      this.#startedAt = at
      this.#samples = []
    }
    this.#samples.push({ at, done })
    while (this.#samples.length > 2 && at - this.#samples[0].at > WINDOW_MS) this.#samples.shift()
    const rate = progress.done === undefined ? null : this.#rate()
    const left = progress.total === undefined ? null : Math.max(0, progress.total - done)
    return {
      ...progress,
      rate,
      etaMs: left === null || rate === null || rate <= 0 ? null : (left / rate) * 1000,
      elapsedMs: at - this.#startedAt
    }
  }

  #rate(): number | null {
    const first = this.#samples[0]
    const last = this.#samples[this.#samples.length - 1]
    const spanMs = last.at - first.at
    return spanMs < SPAN_MS_MIN ? null : ((last.done - first.done) / spanMs) * 1000
  }
}
