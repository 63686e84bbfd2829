/**
 * Ids of chunks that this commit stored a moment ago, with their places: repeats are found before the index of the
 * device has them. Fixed in size; what does not fit replaces something older, which costs a chunk stored twice.
 *
 * 16 bytes of an id count, as nobody looks at the whole id again.
 */
import { CHUNK_ID_BYTES } from '../base/limits.ts'

const WAYS = 4
const WORDS = 6
/** Block + 1, so that 0 means free. */
const BLOCK = 4
const SLOT = 5

export class RecentIds {
  readonly #sets: number
  readonly #words: Uint32Array
  /** Answer of the last `find` that returned true. */
  block = 0
  slot = 0
  #next = 0

  /** @param count of ids that fit, a power of 2 */
  constructor(count = 65_536) {
    this.#sets = count / WAYS
    this.#words = new Uint32Array(count * WORDS)
  }

  /** Is the id at `index` of `ids` known? Then `block` and `slot` say where. */
  find(ids: Buffer, index: number): boolean {
    const at = index * CHUNK_ID_BYTES
    const words = this.#words
    const k0 = ids.readUInt32LE(at)
    const k1 = ids.readUInt32LE(at + 4)
    const k2 = ids.readUInt32LE(at + 8)
    const k3 = ids.readUInt32LE(at + 12)
    const set = (k0 % this.#sets) * WAYS
    for (let way = 0; way < WAYS; way++) {
      const e = (set + way) * WORDS
      if (words[e + BLOCK] === 0 || words[e] !== k0) continue
      if (words[e + 1] !== k1 || words[e + 2] !== k2 || words[e + 3] !== k3) continue
      this.block = words[e + BLOCK] - 1
      this.slot = words[e + SLOT]
      return true
    }
    return false
  }

  /** Notes where the id at `index` of `ids`, which is not known yet, was stored. */
  add(ids: Buffer, index: number, block: number, slot: number): void {
    const at = index * CHUNK_ID_BYTES
    const words = this.#words
    const set = (ids.readUInt32LE(at) % this.#sets) * WAYS
    let e = (set + (this.#next = (this.#next + 1) % WAYS)) * WORDS
    for (let way = 0; way < WAYS; way++) {
      if (words[(set + way) * WORDS + BLOCK] === 0) e = (set + way) * WORDS
    }
    for (let word = 0; word < 4; word++) words[e + word] = ids.readUInt32LE(at + word * 4)
    words[e + BLOCK] = block + 1
    words[e + SLOT] = slot
  }
}
