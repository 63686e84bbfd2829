/**
 * Which slots of an overlay file are in use, and which to write next.
 *
 * A write wants slots in a row, so that it goes out in one piece: it takes a free run that is long enough, else
 * the end of the file, and collects scattered slots only when growing is not free: the file would leave its
 * reserve, or a good part of it lies idle already.
 */
export interface Extent {
  first: number
  count: number
}

/** Free runs shorter than this are not worth a write of their own while the file may grow. */
const RUN_MIN = 16
/** Idle slots below which a file just grows: 16 MiB. */
const IDLE_MAX = 4096
/** Words of the bitmap that one search looks at. */
const SEARCH_WORDS_MAX = 512

export class SlotSpace {
  /** Bit set: in use. */
  #used = new Uint32Array(1024)
  #cursor = 0
  /** Slots 0…end−1 were in use at some time; everything behind is free. */
  end = 0
  /** Free slots before the end. */
  idle = 0
  /** Slots that the file has space for already, whatever else fills the disk. */
  reserved = 0

  get inUse(): number {
    return this.end - this.idle
  }

  /** Slots that can be taken without growing the file beyond what is reserved. */
  get ready(): number {
    return this.idle + Math.max(0, this.reserved - this.end)
  }

  /**
   * Takes up to `count` slots; fewer when there are no more and the file may not grow.
   * @param grow may the file grow beyond its reserve?
   */
  take(count: number, grow: boolean): Extent[] {
    const extents: Extent[] = []
    let missing = count
    const beyond = this.end + count > this.reserved
    // A file that is mostly idle fills from its start, so that its end can be cut.
    if (this.idle >= this.inUse) this.#cursor = 0
    const crowded = this.idle > Math.max(IDLE_MAX, this.inUse / 2)
    if (this.idle > 0 && ((beyond && (this.reserved > 0 || !grow)) || crowded)) {
      missing = this.#collect(missing, Math.min(missing, RUN_MIN), SEARCH_WORDS_MAX, extents)
      missing = this.#collect(missing, 1, 4 * this.#used.length + this.idle, extents)
    } else if (this.idle >= missing) {
      missing = this.#collect(missing, Math.min(missing, RUN_MIN), SEARCH_WORDS_MAX, extents)
    }
    const room = grow ? missing : Math.max(0, Math.min(missing, this.reserved - this.end))
    if (room > 0) this.#append(room, extents)
    return extents
  }

  /** Takes that very slot, if it is free. */
  takeAt(slot: number): boolean {
    if (slot < this.end && !this.isFree(slot)) return false
    this.claim(slot)
    return true
  }

  /** Marks a slot as used, wherever it is: recovery found it. */
  claim(slot: number): void {
    if (slot >= this.end) {
      this.idle += slot - this.end
      this.end = slot + 1
      this.#fit()
    } else {
      this.idle--
    }
    this.#used[slot >>> 5] |= 1 << (slot & 31)
  }

  free(slot: number): void {
    this.#used[slot >>> 5] &= ~(1 << (slot & 31))
    this.idle++
  }

  isFree(slot: number): boolean {
    return (this.#used[slot >>> 5] & (1 << (slot & 31))) === 0
  }

  /** Forgets free slots at the end of the file. Returns how many. */
  trim(): number {
    const before = this.end
    while (this.end > 0 && this.idle > 0 && this.isFree(this.end - 1)) {
      this.end--
      this.idle--
    }
    if (this.#cursor >= this.end) this.#cursor = 0
    return before - this.end
  }

  #append(count: number, extents: Extent[]): void {
    const first = this.end
    this.end += count
    this.#fit()
    this.#use(first, count, extents)
  }

  /** Sweeps on from where the last search ended, once around at most. Returns how many are still missing. */
  #collect(missing: number, runMin: number, words: number, extents: Extent[]): number {
    let budget = words
    let at = this.#cursor
    let wrapped = false
    while (missing > 0 && budget > 0) {
      const start = this.#nextFree(at)
      budget -= 1 + ((start - at) >>> 5)
      if (start === this.end) {
        if (wrapped) break
        wrapped = true
        at = 0
        continue
      }
      const stop = this.#nextUsed(start, Math.min(this.end, start + missing))
      budget -= (stop - start) >>> 5
      if (stop - start >= Math.min(runMin, missing)) {
        this.#use(start, stop - start, extents)
        this.idle -= stop - start
        missing -= stop - start
      }
      at = stop
    }
    this.#cursor = at
    return missing
  }

  #use(first: number, count: number, extents: Extent[]): void {
    for (let slot = first; slot < first + count; slot++) this.#used[slot >>> 5] |= 1 << (slot & 31)
    const last = extents.at(-1)
    if (last !== undefined && last.first + last.count === first) last.count += count
    else extents.push({ first, count })
  }

  /** The first free slot from `at` on, else the end. */
  #nextFree(at: number): number {
    for (let word = at >>> 5; word << 5 < this.end; word++) {
      let free = ~this.#used[word]
      if (word === at >>> 5) free &= -1 << (at & 31)
      if (free !== 0) return Math.min(this.end, (word << 5) + lowestBit(free))
    }
    return this.end
  }

  /** The first slot in use from `at` on, at most `max`. */
  #nextUsed(at: number, max: number): number {
    for (let word = at >>> 5; word << 5 < max; word++) {
      let used = this.#used[word] | 0
      if (word === at >>> 5) used &= -1 << (at & 31)
      if (used !== 0) return Math.min(max, (word << 5) + lowestBit(used))
    }
    return max
  }

  #fit(): void {
    const words = (this.end >>> 5) + 1
    if (words <= this.#used.length) return
    const grown = new Uint32Array(Math.max(words, this.#used.length * 2))
    grown.set(this.#used)
    this.#used = grown
  }
}

const lowestBit = (word: number): number => 31 - Math.clz32(word & -word)
