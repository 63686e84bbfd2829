/** The largest value of late: of the last one to two spans in which anything came. What is idle forgets nothing. */
const SAMPLES_MIN = 4

export class MaxFilter {
  #current = 0
  #before = 0
  #samples = 0
  #sinceMs = 0

  get value(): number {
    return Math.max(this.#current, this.#before)
  }

  add(value: number, nowMs: number, spanMs: number): void {
    if (this.#samples === 0) this.#sinceMs = nowMs
    if (this.#samples >= SAMPLES_MIN && nowMs - this.#sinceMs > spanMs) {
      this.#before = this.#current
      this.#current = 0
      this.#samples = 0
      this.#sinceMs = nowMs
    }
    this.#samples++
    if (value > this.#current) this.#current = value
  }
}
