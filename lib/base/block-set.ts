/**
 * Sets of block numbers, as bitmaps in pages: what a log of ten million blocks needs is a megabyte.
 */

const PAGE_BITS = 4096
const PAGE_WORDS = PAGE_BITS / 32

/** Numbers from 0 to 2^53 − 1. */
export class Bits {
  readonly #pages = new Map<number, Uint32Array>()

  has(number: number): boolean {
    const page = this.#pages.get(Math.floor(number / PAGE_BITS))
    if (page === undefined) return false
    const bit = number % PAGE_BITS
    return (page[bit >>> 5] & (1 << (bit & 31))) !== 0
  }

  /** True where it was not there. */
  add(number: number): boolean {
    const page = this.#page(Math.floor(number / PAGE_BITS))
    const bit = number % PAGE_BITS
    const mask = 1 << (bit & 31)
    if ((page[bit >>> 5] & mask) !== 0) return false
    page[bit >>> 5] |= mask
    return true
  }

  /** [start, end) */
  addRun(start: number, end: number): void {
    for (let at = start; at < end;) {
      const bit = at % PAGE_BITS
      if (bit === 0 && end - at >= PAGE_BITS) {
        this.#page(at / PAGE_BITS).fill(0xffff_ffff)
        at += PAGE_BITS
      } else {
        this.add(at++)
      }
    }
  }

  addAll(other: Bits): void {
    for (const [index, from] of other.#pages) {
      const page = this.#page(index)
      for (let i = 0; i < PAGE_WORDS; i++) page[i] |= from[i]
    }
  }

  removeAll(other: Bits): void {
    for (const [index, page] of this.#pages) {
      const gone = other.#pages.get(index)
      if (gone === undefined) continue
      for (let i = 0; i < PAGE_WORDS; i++) page[i] &= ~gone[i]
    }
  }

  /** Removes everything from `start` on. */
  removeFrom(start: number): void {
    for (const [index, page] of this.#pages) {
      const first = index * PAGE_BITS
      if (first + PAGE_BITS <= start) continue
      if (first >= start) this.#pages.delete(index)
      else
        for (let bit = start - first; bit < PAGE_BITS; bit++) page[bit >>> 5] &= ~(1 << (bit & 31))
    }
  }

  get size(): number {
    let size = 0
    for (const page of this.#pages.values()) for (const word of page) size += ones(word)
    return size
  }

  /** Runs [start, end) of consecutive numbers, ascending. */
  *runs(): Generator<{ start: number; end: number }> {
    let start = -1
    let end = -1
    for (const index of [...this.#pages.keys()].sort((a, b) => a - b)) {
      const page = this.#pages.get(index)!
      for (let bit = 0; bit < PAGE_BITS; bit++) {
        if ((bit & 31) === 0 && page[bit >>> 5] === 0) {
          bit += 31
          continue
        }
        if ((page[bit >>> 5] & (1 << (bit & 31))) === 0) continue
        const number = index * PAGE_BITS + bit
        if (number !== end) {
          if (end > start) yield { start, end }
          start = number
        }
        end = number + 1
      }
    }
    if (end > start) yield { start, end }
  }

  #page(index: number): Uint32Array {
    let page = this.#pages.get(index)
    if (page === undefined) this.#pages.set(index, (page = new Uint32Array(PAGE_WORDS)))
    return page
  }
}

/** Blocks of several logs. */
export class BlockSet {
  readonly #logs = new Map<string, Bits>()

  get size(): number {
    let size = 0
    for (const bits of this.#logs.values()) size += bits.size
    return size
  }

  /** Of one log, to be changed too. */
  of(log: Buffer): Bits {
    const name = log.toString('hex')
    let bits = this.#logs.get(name)
    if (bits === undefined) this.#logs.set(name, (bits = new Bits()))
    return bits
  }

  has(log: Buffer, block: number): boolean {
    return this.#logs.get(log.toString('hex'))?.has(block) ?? false
  }

  add(log: Buffer, block: number): void {
    this.of(log).add(block)
  }

  addAll(other: BlockSet): void {
    for (const [name, bits] of other.#logs) this.of(Buffer.from(name, 'hex')).addAll(bits)
  }

  removeAll(other: BlockSet): void {
    for (const [name, bits] of this.#logs) {
      const gone = other.#logs.get(name)
      if (gone !== undefined) bits.removeAll(gone)
    }
  }

  /** Runs [start, end) of consecutive blocks, log by log. */
  *runs(): Generator<{ log: Buffer; start: number; end: number }> {
    for (const [name, bits] of this.#logs) {
      const log = Buffer.from(name, 'hex')
      for (const run of bits.runs()) yield { log, ...run }
    }
  }
}

function ones(word: number): number {
  let n = word - ((word >>> 1) & 0x5555_5555)
  n = (n & 0x3333_3333) + ((n >>> 2) & 0x3333_3333)
  return (((n + (n >>> 4)) & 0x0f0f_0f0f) * 0x0101_0101) >>> 24
}
