/**
 * Which parts of a volume were changed and then left alone for a while, page by page. Time is counted in ticks that
 * the owner gives.
 *
 * A page that was taken is not offered again until it is written to, or given back.
 */

/** 256 KiB. */
export const PAGE_CHUNKS = 64
/** In place of the tick of the last write. */
const NEVER = 0

export class QuietPages {
  /** The tick in which each page was written last. */
  readonly #written: Uint32Array
  readonly #taken: Uint8Array
  #tick = 1

  constructor(chunks: number) {
    const pages = Math.ceil(chunks / PAGE_CHUNKS)
    this.#written = new Uint32Array(pages)
    this.#taken = new Uint8Array(pages)
  }

  get pages(): number {
    return this.#written.length
  }

  tick(): void {
    this.#tick++
  }

  /** Chunks are being changed. */
  note(first: number, count: number): void {
    const end = Math.ceil((first + count) / PAGE_CHUNKS)
    for (let page = Math.floor(first / PAGE_CHUNKS); page < end; page++) {
      this.#written[page] = this.#tick
      this.#taken[page] = 0
    }
  }

  /** The next page from `from` on that was changed, but not during the last `ticks`; −1 when there is none. */
  next(from: number, ticks: number): number {
    const written = this.#written
    for (let page = from; page < written.length; page++) {
      if (written[page] === NEVER || this.#taken[page] !== 0) continue
      if (this.#tick - written[page] >= ticks) return page
    }
    return -1
  }

  /** Before its content is looked at, so that a change meanwhile counts. */
  take(page: number): void {
    this.#taken[page] = 1
  }

  giveBack(page: number): void {
    this.#taken[page] = 0
  }
}
