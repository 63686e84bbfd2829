/**
 * Chunk id → place, in memory: a hint. It keeps 40 bits of an id, so the caller compares the whole id before it
 * trusts a place, and removes one that proved wrong.
 *
 * Open addressing with linear probing in 256 shards, 12 bytes an entry, 14 to 25 bytes with the free ones. A shard
 * grows alone, so no insert ever moves more than 1/256 of the table. Within a shard entries lie in the order of
 * their keys, as far as probing lets them: that is what makes `remove` possible without tombstones.
 */
import { CHUNK_ID_BYTES } from '../base/limits.ts'

const SHARDS = 256
const WORDS = 3
const KEY = 0
const BLOCK = 1
/** Log handle × 16 + slot + 1; 0 where the entry is free. */
const PACKED = 2
const CAPACITY_MIN = 8
const GROWTH = 1.5
const LOAD_MAX = 0.85

/** Where a chunk may be stored. */
export interface Place {
  handle: number
  block: number
  slot: number
}

interface Shard {
  words: Uint32Array
  capacity: number
  count: number
}

export class IdTable {
  readonly #shards: Shard[] = []

  constructor() {
    for (let i = 0; i < SHARDS; i++) this.#shards.push(makeShard(CAPACITY_MIN))
  }

  get count(): number {
    return this.#shards.reduce((sum, shard) => sum + shard.count, 0)
  }

  /** Of the table in memory. */
  get bytes(): number {
    return this.#shards.reduce((sum, shard) => sum + shard.words.byteLength, 0)
  }

  /** Adds a place for the id at `index` of `ids`, unless it has one. Handles are below 2^28. */
  add(ids: Buffer, index: number, handle: number, block: number, slot: number): void {
    const at = index * CHUNK_ID_BYTES
    const shard = this.#shards[ids[at]]
    if (shard.count >= shard.capacity * LOAD_MAX) grow(shard)
    const entry = find(shard, ids.readUInt32LE(at + 1))
    if (shard.words[entry + PACKED] !== 0) return
    set(shard.words, entry, ids.readUInt32LE(at + 1), block, handle * 16 + slot + 1)
    shard.count++
  }

  /** Writes the place of the id at `index` of `ids` to `found` and returns true, or returns false. */
  get(ids: Buffer, index: number, found: Place): boolean {
    const at = index * CHUNK_ID_BYTES
    const { words } = this.#locate(ids, at)
    const packed = words[this.#entry + PACKED]
    if (packed === 0) return false
    found.block = words[this.#entry + BLOCK]
    found.handle = (packed - 1) >>> 4
    found.slot = (packed - 1) & 15
    return true
  }

  /** Forgets the place of the id at `index` of `ids`, if it is still that one. */
  remove(ids: Buffer, index: number, { handle, block, slot }: Place): void {
    const shard = this.#locate(ids, index * CHUNK_ID_BYTES)
    const { words } = shard
    const entry = this.#entry
    if (words[entry + BLOCK] !== block || words[entry + PACKED] !== handle * 16 + slot + 1) return
    free(shard, entry / WORDS)
    shard.count--
  }

  #entry = 0

  #locate(ids: Buffer, at: number): Shard {
    const shard = this.#shards[ids[at]]
    this.#entry = find(shard, ids.readUInt32LE(at + 1))
    return shard
  }
}

function makeShard(capacity: number): Shard {
  return { words: new Uint32Array(capacity * WORDS), capacity, count: 0 }
}

/** Where an entry with that key would lie if it were alone: in the order of keys. */
function home(key: number, capacity: number): number {
  return Math.floor((key / 0x1_0000_0000) * capacity)
}

/** The entry with that key, or the free one where it belongs. */
function find({ words, capacity }: Shard, key: number): number {
  for (let i = home(key, capacity); ; i = i + 1 === capacity ? 0 : i + 1) {
    const entry = i * WORDS
    if (words[entry + PACKED] === 0 || words[entry + KEY] === key) return entry
  }
}

function set(words: Uint32Array, entry: number, key: number, block: number, packed: number): void {
  words[entry + KEY] = key
  words[entry + BLOCK] = block
  words[entry + PACKED] = packed
}

/** Frees an entry and moves back those that only probing had put behind it. */
function free({ words, capacity }: Shard, index: number): void {
  let hole = index
  for (let i = hole; ;) {
    i = i + 1 === capacity ? 0 : i + 1
    const entry = i * WORDS
    if (words[entry + PACKED] === 0) break
    const probed = (i - home(words[entry + KEY], capacity) + capacity) % capacity
    if (probed < (i - hole + capacity) % capacity) continue
    words.copyWithin(hole * WORDS, entry, entry + WORDS)
    hole = i
  }
  words.fill(0, hole * WORDS, (hole + 1) * WORDS)
}

function grow(shard: Shard): void {
  const old = shard.words
  const grown = makeShard(Math.ceil(shard.capacity * GROWTH))
  for (let at = 0; at < old.length; at += WORDS) {
    if (old[at + PACKED] === 0) continue
    set(grown.words, find(grown, old[at + KEY]), old[at + KEY], old[at + BLOCK], old[at + PACKED])
  }
  shard.words = grown.words
  shard.capacity = grown.capacity
}
