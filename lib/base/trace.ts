/** Where the time of one operation goes: milliseconds since its start, by step. */
export class Trace {
  readonly steps: Record<string, number> = {}
  readonly #began = performance.now()

  /** That step is done. */
  mark(step: string): void {
    this.steps[step] = Math.round(performance.now() - this.#began)
  }

  /** Steps of something that began at this moment and was measured elsewhere. */
  add(steps: Record<string, number>, beganMs: number): void {
    for (const [step, ms] of Object.entries(steps)) this.steps[step] = beganMs + ms
  }

  /** Milliseconds since the start. */
  get nowMs(): number {
    return Math.round(performance.now() - this.#began)
  }
}
