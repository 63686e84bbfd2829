/** Progress where no terminal shows it, as in a log: one line for each phase that takes long. */
import type { Clock } from '../../base/clock.ts'
import type { Progress } from '../../base/progress.ts'
import { printable } from './format.ts'
import type { Output, Renderer } from './renderer.ts'

/** Shorter ones are not worth a line. */
const LONG_MS = 3000

export class PhaseRenderer implements Renderer {
  readonly #output: Output
  readonly #clock: Clock
  #phase: string | null = null
  #since = 0
  #told = false

  constructor(output: Output, clock: Clock) {
    this.#output = output
    this.#clock = clock
  }

  progress({ phase }: Progress): void {
    const now = this.#clock.monotonic()
    if (phase !== this.#phase) {
      this.#phase = phase
      this.#since = now
      this.#told = false
    }
    if (this.#told || now - this.#since < LONG_MS) return
    this.#told = true
    this.#output.write(`${printable(phase)} …\n`)
  }

  clear(): void {}
}
