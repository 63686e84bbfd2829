/**
 * Chunk number → entry, for one generation of an overlay: four bytes for each chunk of a page that was touched,
 * one word for a page that was not or whose chunks all have the same entry.
 *
 * Entries: 0 nothing here; slot + 1 data; slot + 1 with the highest bit a tombstone.
 */
export const TOMBSTONE_BIT = 0x8000_0000
export const PAGE_CHUNKS = 1024

export const dataEntry = (slot: number): number => slot + 1
export const tombstoneEntry = (slot: number): number => (slot + 1 + TOMBSTONE_BIT) >>> 0
export const isTombstone = (entry: number): boolean => entry >= TOMBSTONE_BIT
export const slotOf = (entry: number): number => (entry % TOMBSTONE_BIT) - 1

/** Told of each entry that a change took away, and of how many chunks it covered. Not told of zeros. */
export type Replaced = (entry: number, chunks: number) => void

type Page = Uint32Array | number

export class ChunkMap {
  readonly chunks: number
  readonly #pages: Page[]
  /** Chunks with data, and chunks under a tombstone. */
  dataChunks = 0
  zeroChunks = 0

  constructor(chunks: number) {
    this.chunks = chunks
    this.#pages = new Array<Page>(Math.ceil(chunks / PAGE_CHUNKS)).fill(0)
  }

  get empty(): boolean {
    return this.dataChunks === 0 && this.zeroChunks === 0
  }

  get(chunk: number): number {
    const page = this.#pages[Math.floor(chunk / PAGE_CHUNKS)]
    return typeof page === 'number' ? page : page[chunk % PAGE_CHUNKS]
  }

  /** Returns what was there. */
  set(chunk: number, entry: number): number {
    const page = this.#page(Math.floor(chunk / PAGE_CHUNKS))
    const index = chunk % PAGE_CHUNKS
    const old = page[index]
    page[index] = entry
    this.#count(old, -1)
    this.#count(entry, 1)
    return old
  }

  /** Sets a range to one entry. */
  fill(first: number, count: number, entry: number, replaced: Replaced): void {
    const end = first + count
    for (let at = first; at < end;) {
      const index = Math.floor(at / PAGE_CHUNKS)
      const stop = Math.min(end, (index + 1) * PAGE_CHUNKS)
      const page = this.#pages[index]
      if (typeof page === 'number' && stop - at === PAGE_CHUNKS) {
        this.#count(page, -PAGE_CHUNKS)
        this.#count(entry, PAGE_CHUNKS)
        this.#pages[index] = entry
        if (page !== 0) replaced(page, PAGE_CHUNKS)
        at = stop
        continue
      }
      for (; at < stop; at++) {
        const old = this.set(at, entry)
        if (old !== 0) replaced(old, 1)
      }
      if (stop - first >= PAGE_CHUNKS) this.#collapse(index)
    }
  }

  /** How many chunks from `first` on, at most `max`, can be read as one: nothing here, zeros, or slots in a row. */
  run(first: number, max: number): number {
    const entry = this.get(first)
    const end = Math.min(this.chunks, first + max)
    const step = entry === 0 || isTombstone(entry) ? 0 : 1
    let at = first + 1
    while (at < end) {
      const page = this.#pages[Math.floor(at / PAGE_CHUNKS)]
      const stop = Math.min(end, (Math.floor(at / PAGE_CHUNKS) + 1) * PAGE_CHUNKS)
      if (typeof page === 'number') {
        if (step === 1 || !alike(entry, page)) return at - first
        at = stop
        continue
      }
      for (; at < stop; at++) {
        const next = page[at % PAGE_CHUNKS]
        if (step === 1 ? next !== entry + (at - first) : !alike(entry, next)) return at - first
      }
    }
    return at - first
  }

  /** Runs of entries that are not 0, in order: all data or all zeros, wherever the data lies. */
  *runs(): Generator<{ first: number; count: number; zero: boolean }> {
    let first = 0
    let count = 0
    let zero = false
    for (let at = 0; at < this.chunks;) {
      const entry = this.get(at)
      const n = this.run(at, this.chunks - at)
      if (count > 0 && (entry === 0 || isTombstone(entry) !== zero)) {
        yield { first, count, zero }
        count = 0
      }
      if (entry !== 0) {
        if (count === 0) {
          first = at
          zero = isTombstone(entry)
        }
        count += n
      }
      at += n
    }
    if (count > 0) yield { first, count, zero }
  }

  /** Every entry that is not 0, with how many chunks in a row have it. */
  *entries(): Generator<{ first: number; count: number; entry: number }> {
    for (let index = 0; index < this.#pages.length; index++) {
      const page = this.#pages[index]
      const first = index * PAGE_CHUNKS
      if (typeof page === 'number') {
        const count = Math.min(PAGE_CHUNKS, this.chunks - first)
        if (page !== 0) yield { first, count, entry: page }
        continue
      }
      for (let i = 0; i < PAGE_CHUNKS; i++) {
        if (page[i] !== 0) yield { first: first + i, count: 1, entry: page[i] }
      }
    }
  }

  #page(index: number): Uint32Array {
    const page = this.#pages[index]
    if (typeof page !== 'number') return page
    const made = new Uint32Array(PAGE_CHUNKS)
    if (page !== 0) made.fill(page)
    this.#pages[index] = made
    return made
  }

  #collapse(index: number): void {
    const page = this.#pages[index]
    if (typeof page !== 'number' && page.every((entry) => entry === page[0])) {
      this.#pages[index] = page[0]
    }
  }

  #count(entry: number, chunks: number): void {
    if (entry === 0) return
    if (isTombstone(entry)) this.zeroChunks += chunks
    else this.dataChunks += chunks
  }
}

function alike(entry: number, other: number): boolean {
  return entry === 0 ? other === 0 : isTombstone(other)
}
