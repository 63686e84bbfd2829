/** Progress as JSON lines: each new phase and the end of one at once, in between two a second at most. */
import type { Clock } from '../../base/clock.ts'
import type { Progress } from '../../base/progress.ts'
import { ProgressMeter } from './meter.ts'
import type { Output, Renderer } from './renderer.ts'

const INTERVAL_MS = 500

export class JsonLinesRenderer implements Renderer {
  readonly #output: Output
  readonly #clock: Clock
  readonly #meter: ProgressMeter
  #phase: string | null = null
  #writtenAt = 0

  constructor(output: Output, clock: Clock) {
    this.#output = output
    this.#clock = clock
    this.#meter = new ProgressMeter(clock)
  }

  progress(progress: Progress): void {
    const { rate, etaMs, elapsedMs, ...given } = this.#meter.update(progress)
    const now = this.#clock.monotonic()
    const finished = given.total !== undefined && given.done === given.total
    if (given.phase === this.#phase && now - this.#writtenAt < INTERVAL_MS && !finished) return
    this.#phase = given.phase
    this.#writtenAt = now
    const line: Record<string, unknown> = { ...given, elapsed_ms: Math.round(elapsedMs) }
    if (rate !== null) line['per_second'] = Math.round(rate)
    if (etaMs !== null) line['eta_ms'] = Math.round(etaMs)
    this.#output.write(`${JSON.stringify(line)}\n`)
  }

  clear(): void {}
}
