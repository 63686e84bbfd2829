/** A set of block numbers as sorted runs: what a peer says it has. At most `max` runs; what exceeds them is left out. */
export class RunSet {
  readonly #max: number
  /** Start and end (exclusive) of each run, ascending, never touching. */
  readonly #starts: number[] = []
  readonly #ends: number[] = []

  constructor(max: number) {
    this.#max = max
  }

  get runs(): number {
    return this.#starts.length
  }

  has(index: number): boolean {
    const i = this.#after(index) - 1
    return i >= 0 && index < this.#ends[i]
  }

  /** All of [start, end)? */
  covers(start: number, end: number): boolean {
    if (start >= end) return true
    const i = this.#after(start) - 1
    return i >= 0 && end <= this.#ends[i]
  }

  add(start: number, count: number): void {
    if (count <= 0) return
    let end = start + count
    let from = this.#after(start)
    if (from > 0 && this.#ends[from - 1] >= start) from--
    let to = from
    while (to < this.#starts.length && this.#starts[to] <= end) to++
    if (to > from) {
      start = Math.min(start, this.#starts[from])
      end = Math.max(end, this.#ends[to - 1])
    } else if (this.#starts.length >= this.#max) return
    this.#starts.splice(from, to - from, start)
    this.#ends.splice(from, to - from, end)
  }

  remove(index: number): void {
    const i = this.#after(index) - 1
    if (i < 0 || index >= this.#ends[i]) return
    const [start, end] = [this.#starts[i], this.#ends[i]]
    this.#starts.splice(i, 1)
    this.#ends.splice(i, 1)
    this.add(start, index - start)
    this.add(index + 1, end - index - 1)
  }

  clear(): void {
    this.#starts.length = 0
    this.#ends.length = 0
  }

  /** Position of the first run that starts after `index`. */
  #after(index: number): number {
    let [low, high] = [0, this.#starts.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#starts[middle] <= index) low = middle + 1
      else high = middle
    }
    return low
  }
}
