/**
 * The index of a seed (an image, or a directory of files): which chunk ids it has, and where. A file of the home:
 *
 *   "HPSEED1\n" | u32le json bytes | u32le entries | u32le fan-out bits | 4 zero bytes | json, padded to 8 bytes
 *   | u32le × (2^bits + 1): first entry of each bucket | u64le × entries, sorted
 *
 * An entry is the first 36 bits of a chunk id and, below them, the number of the chunk in 28 bits. So 64 GiB of data need
 * 128 MiB. Ids are hashes under a key that is not in the file; what it tells without that key is names, sizes and times
 * of the files, which chunks of them are there, and nothing of what is in them.
 *
 * A hint, never trusted: whoever reads a chunk that was found here checks its id.
 */
import fs from 'node:fs'
import { HyperparcelError } from '../../base/errors.ts'
import type { SeedFile } from './seed-files.ts'

const MAGIC = Buffer.from('HPSEED1\n')
const HEAD_BYTES = 24
/** 128 GiB of data: 256 MiB of entries. */
export const SEED_ENTRIES_MAX = 2 ** 25
const JSON_BYTES_MAX = 128 * 1024 ** 2
const FAN_OUT_BITS_MAX = 20
const NUMBER_BITS = 28
const NUMBER_MASK = 2 ** NUMBER_BITS - 1

export interface SeedDescription {
  root: string
  files: SeedFile[]
  /** Of data that was indexed; holes are none. */
  bytes: number
  /** Limits left nothing out. */
  whole: boolean
}

/** Entries while they are collected. */
export class SeedEntries {
  /** Low and high word of each. */
  #words = new Uint32Array(2 * 4096)
  #count = 0

  get count(): number {
    return this.#count
  }

  /** `at`: where the id is in `ids`. */
  add(ids: Buffer, at: number, chunk: number): void {
    if (this.#count * 2 === this.#words.length) {
      const more = Math.min(this.#words.length * 2, SEED_ENTRIES_MAX * 2)
      const words = new Uint32Array(more)
      words.set(this.#words)
      this.#words = words
    }
    this.#words[this.#count * 2] = lowWord(ids, at, chunk)
    this.#words[this.#count * 2 + 1] = ids.readUInt32BE(at)
    this.#count++
  }

  /** Sorted; of equal beginnings of ids the first one only. Words as in the file. */
  finish(): Uint32Array {
    new BigUint64Array(this.#words.buffer, 0, this.#count).sort()
    const words = this.#words
    let kept = 0
    for (let i = 0; i < this.#count; i++) {
      const [low, high] = [words[i * 2], words[i * 2 + 1]]
      if (kept > 0 && high === words[kept * 2 - 1] && sameTop(low, words[kept * 2 - 2])) continue
      words[kept * 2] = low
      words[kept * 2 + 1] = high
      kept++
    }
    this.#count = kept
    return words.subarray(0, kept * 2)
  }
}

/** Durable on return, and there as a whole or not at all. */
export function writeSeedIndex(file: string, about: SeedDescription, entries: SeedEntries): void {
  const words = entries.finish()
  const count = words.length / 2
  const bits = fanOutBits(count)
  const json = Buffer.from(JSON.stringify(about))
  const head = Buffer.alloc(HEAD_BYTES + json.byteLength + padding(json.byteLength))
  MAGIC.copy(head)
  head.writeUInt32LE(json.byteLength, 8)
  head.writeUInt32LE(count, 12)
  head.writeUInt32LE(bits, 16)
  json.copy(head, HEAD_BYTES)
  const partial = `${file}.partial`
  const handle = fs.openSync(partial, 'w', 0o600)
  try {
    const table = fanOut(words, bits)
    for (const part of [head, bytesOf(table), bytesOf(words)]) writeAll(handle, part)
    fs.fsyncSync(handle)
  } finally {
    fs.closeSync(handle)
  }
  fs.renameSync(partial, file)
}

/** An index that is looked up in. What cannot be read has nothing. */
export class SeedIndex {
  readonly about: SeedDescription
  readonly #handle: number
  readonly #table: Uint32Array
  readonly #bits: number
  readonly #entriesAt: number

  private constructor(
    handle: number,
    about: SeedDescription,
    table: Uint32Array,
    bits: number,
    entriesAt: number
  ) {
    this.#handle = handle
    this.about = about
    this.#table = table
    this.#bits = bits
    this.#entriesAt = entriesAt
  }

  /** Throws `FORMAT_INVALID` for what is no index, and what opening it fails with. */
  static open(file: string): SeedIndex {
    const handle = fs.openSync(file, 'r')
    try {
      const { size } = fs.fstatSync(handle)
      const head = readAt(handle, 0, HEAD_BYTES)
      const jsonBytes = head.readUInt32LE(8)
      const count = head.readUInt32LE(12)
      const bits = head.readUInt32LE(16)
      const tableAt = HEAD_BYTES + jsonBytes + padding(jsonBytes)
      const tableBytes = tableOf(bits) * 4
      const fits = jsonBytes <= JSON_BYTES_MAX && bits === fanOutBits(count)
      if (!head.subarray(0, 8).equals(MAGIC) || !fits) throw invalid()
      if (size !== tableAt + tableBytes + count * 8) throw invalid()
      const about = JSON.parse(readAt(handle, HEAD_BYTES, jsonBytes).toString()) as SeedDescription
      const table = new Uint32Array(tableOf(bits))
      readAt(handle, tableAt, tableBytes).copy(bytesOf(table))
      if (table.some((first, i) => first > count || (i > 0 && first < table[i - 1]))) {
        throw invalid()
      }
      return new SeedIndex(handle, about, table, bits, tableAt + tableBytes)
    } catch (err) {
      fs.closeSync(handle)
      throw err
    }
  }

  /** The number of the chunk that should have the id at `at`; −1 for none. */
  find(ids: Buffer, at: number): number {
    const high = ids.readUInt32BE(at)
    const low = lowWord(ids, at, 0)
    const bucket = this.#bits === 0 ? 0 : high >>> (32 - this.#bits)
    const [from, to] = [this.#table[bucket], this.#table[bucket + 1]]
    if (from === to) return -1
    const entries = readAt(this.#handle, this.#entriesAt + from * 8, (to - from) * 8)
    for (let i = 0; i < entries.byteLength; i += 8) {
      if (entries.readUInt32LE(i + 4) !== high) continue
      const found = entries.readUInt32LE(i)
      if (sameTop(found, low)) return found & NUMBER_MASK
    }
    return -1
  }

  /** The file that has a chunk, and where in it. */
  place(chunk: number): { file: SeedFile; chunk: number } | null {
    const { files } = this.about
    let [low, high] = [0, files.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (files[middle].first <= chunk) low = middle + 1
      else high = middle
    }
    return low === 0 ? null : { file: files[low - 1], chunk: chunk - files[low - 1].first }
  }

  close(): void {
    fs.closeSync(this.#handle)
  }
}

/** The number, and above it bits 32 to 35 of the id. */
function lowWord(ids: Buffer, at: number, chunk: number): number {
  return (((ids[at + 4] >>> 4) << NUMBER_BITS) | chunk) >>> 0
}

function sameTop(a: number, b: number): boolean {
  return a >>> NUMBER_BITS === b >>> NUMBER_BITS
}

/** Some 256 entries a bucket: one read of 2 KiB finds a chunk. */
function fanOutBits(count: number): number {
  return Math.min(FAN_OUT_BITS_MAX, Math.max(0, Math.ceil(Math.log2(Math.max(1, count) / 256))))
}

function fanOut(words: Uint32Array, bits: number): Uint32Array {
  const table = new Uint32Array(tableOf(bits))
  for (let i = 1; i < words.length; i += 2) {
    table[(bits === 0 ? 0 : words[i] >>> (32 - bits)) + 1]++
  }
  for (let i = 1; i < table.length; i++) table[i] += table[i - 1]
  return table
}

/** Words of the table. */
function tableOf(bits: number): number {
  return 2 ** bits + 1
}

function padding(bytes: number): number {
  return (8 - (bytes % 8)) % 8
}

function bytesOf(words: Uint32Array): Buffer {
  return Buffer.from(words.buffer, words.byteOffset, words.byteLength)
}

function writeAll(handle: number, data: Buffer): void {
  for (let at = 0; at < data.byteLength;) at += fs.writeSync(handle, data, at)
}

function readAt(handle: number, position: number, bytes: number): Buffer {
  if (bytes > JSON_BYTES_MAX) throw invalid()
  const data = Buffer.allocUnsafe(bytes)
  for (let at = 0; at < bytes;) {
    const read = fs.readSync(handle, data, at, bytes - at, position + at)
    if (read === 0) throw invalid()
    at += read
  }
  return data
}

function invalid(): HyperparcelError {
  return new HyperparcelError('FORMAT_INVALID', 'That is no index of a seed')
}
