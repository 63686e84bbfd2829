/** Decides how far to read ahead: a window for each sequential stream, that doubles while it goes on. Plain data, no I/O. */

/** Streams followed at once. */
const STREAMS = 8
/** Chunks: 128 KiB, and 1 MiB. */
const WINDOW_MIN = 32
const WINDOW_MAX = 256
/** A stream may skip that many chunks (found in an overlay, or zeros). */
const SKIP_MAX = 64

interface Stream {
  /** Where it should go on. */
  next: number
  /** Read ahead up to here. */
  frontier: number
  window: number
}

export class ReadAhead {
  /** The most recently used first. */
  readonly #streams: Stream[] = []

  /** A read of chunks first…first+count−1: the range to fetch ahead, or null. */
  note(first: number, count: number): { first: number; count: number } | null {
    const end = first + count
    const at = this.#streams.findIndex(({ next }) => first >= next && first - next <= SKIP_MAX)
    if (at < 0) {
      this.#streams.unshift({ next: end, frontier: end, window: 0 })
      if (this.#streams.length > STREAMS) this.#streams.pop()
      return null
    }
    const [stream] = this.#streams.splice(at, 1)
    this.#streams.unshift(stream)
    stream.next = end
    stream.frontier = Math.max(stream.frontier, end)
    stream.window = Math.min(WINDOW_MAX, Math.max(WINDOW_MIN, stream.window * 2))
    // In pieces of half a window, not a few chunks with each read.
    if (stream.frontier - end > stream.window / 2) return null
    const range = { first: stream.frontier, count: end + stream.window - stream.frontier }
    stream.frontier = end + stream.window
    return range
  }
}
