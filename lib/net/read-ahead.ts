/** Notices when blocks of a log are asked for in order, and says which to fetch before they are asked for. */

const RUN_MIN = 2
const GAP_MAX = 4
const AHEAD_MAX = 32

export class ReadAhead {
  #last = -1
  #run = 0
  #end = 0

  /** Block `index` was demanded. Returns the range [start, end) to fetch now; empty for random access. */
  next(index: number, length: number): { start: number; end: number } {
    const step = index - this.#last
    const sequential = this.#last >= 0 && step > 0 && step <= GAP_MAX
    this.#run = sequential ? this.#run + 1 : 0
    if (step !== 0) this.#last = index
    if (!sequential) this.#end = 0
    if (this.#run < RUN_MIN) return { start: 0, end: 0 }
    const start = Math.max(index + 1, this.#end)
    const end = Math.min(length, index + 1 + Math.min(AHEAD_MAX, 2 ** this.#run))
    if (end <= start) return { start: 0, end: 0 }
    this.#end = end
    return { start, end }
  }
}
