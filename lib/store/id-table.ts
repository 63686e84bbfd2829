/**
 * Chunk id → place, in memory: open addressing over typed arrays, 20 bytes an entry. Keeps 96 bits of an id;
 * the caller compares the whole id before it trusts a hit.
 */
import { CHUNK_ID_BYTES } from '../base/limits.ts'

const WORDS = 5
const LOAD_MAX = 0.6

/** A place packed for the table: log handle × 32 + slot + 1, so that zero means free. */
export interface Place {
  handle: number
  block: number
  slot: number
}

export class IdTable {
  #capacity = 1 << 12
  #words = new Uint32Array(this.#capacity * WORDS)
  #count = 0

  get count(): number {
    return this.#count
  }

  /** Adds a place for the id at `index` of `ids`, unless it has one. */
  add(ids: Buffer, index: number, place: Place): void {
    if (this.#count >= this.#capacity * LOAD_MAX) this.#grow()
    const at = index * CHUNK_ID_BYTES
    const k0 = ids.readUInt32LE(at)
    const k1 = ids.readUInt32LE(at + 4)
    const k2 = ids.readUInt32LE(at + 8)
    const entry = this.#find(k0, k1, k2)
    if (this.#words[entry + 4] !== 0) return
    this.#set(entry, k0, k1, k2, place.block, place.handle * 32 + place.slot + 1)
    this.#count++
  }

  /** Writes the place of the id at `index` of `ids` to `found` and returns true, or returns false. */
  get(ids: Buffer, index: number, found: Place): boolean {
    const at = index * CHUNK_ID_BYTES
    const entry = this.#find(
      ids.readUInt32LE(at),
      ids.readUInt32LE(at + 4),
      ids.readUInt32LE(at + 8)
    )
    const packed = this.#words[entry + 4]
    if (packed === 0) return false
    found.block = this.#words[entry + 3]
    found.handle = (packed - 1) >>> 5
    found.slot = (packed - 1) & 31
    return true
  }

  #find(k0: number, k1: number, k2: number): number {
    const words = this.#words
    const mask = this.#capacity - 1
    for (let i = k0 & mask; ; i = (i + 1) & mask) {
      const entry = i * WORDS
      if (words[entry + 4] === 0) return entry
      if (words[entry] === k0 && words[entry + 1] === k1 && words[entry + 2] === k2) return entry
    }
  }

  #set(entry: number, k0: number, k1: number, k2: number, block: number, packed: number): void {
    const words = this.#words
    words[entry] = k0
    words[entry + 1] = k1
    words[entry + 2] = k2
    words[entry + 3] = block
    words[entry + 4] = packed
  }

  #grow(): void {
    const old = this.#words
    this.#capacity *= 2
    this.#words = new Uint32Array(this.#capacity * WORDS)
    for (let at = 0; at < old.length; at += WORDS) {
      if (old[at + 4] === 0) continue
      const entry = this.#find(old[at], old[at + 1], old[at + 2])
      this.#set(entry, old[at], old[at + 1], old[at + 2], old[at + 3], old[at + 4])
    }
  }
}
