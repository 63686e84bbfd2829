/**
 * The chunk ids of the segments of one log, by block index, in a flat file of fixed records:
 *
 * | offset | bytes | field |
 * | --- | --- | --- |
 * | 0 | 1 | chunks in the segment, 0 where the block is no segment or not stored here |
 * | 1 | 7 | first bytes of the BLAKE2b of what follows, so that a torn record is no record |
 * | 8 | 512 | ids, 32 bytes each |
 *
 * It is a cache of what the sealed segments say and can be rebuilt from them. Never synced: a record that was
 * lost costs a missed deduplication, or is read again from its segment.
 */
import { closeSync, openSync, readSync, writeSync, fstatSync } from 'node:fs'
import sodium from 'sodium-universal'
import { CHUNK_ID_BYTES, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'

const RECORD_BYTES = 8 + SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES
const SCAN_RECORDS = 2048

export class IdFile {
  readonly #fd: number
  readonly #record = Buffer.alloc(RECORD_BYTES)
  readonly #checksum = Buffer.alloc(32)

  constructor(path: string) {
    this.#fd = openSync(path, 'a+', 0o600)
    closeSync(this.#fd)
    this.#fd = openSync(path, 'r+')
  }

  /** Stores the ids (32 bytes each) of the segment in that block. */
  put(block: number, ids: Buffer): void {
    this.#record.fill(0)
    ids.copy(this.#record, 8)
    this.#sum(this.#record).copy(this.#record, 1, 0, 7)
    this.#record.writeUInt8(ids.byteLength / CHUNK_ID_BYTES, 0)
    writeSync(this.#fd, this.#record, 0, RECORD_BYTES, block * RECORD_BYTES)
  }

  /** The ids of the segment in that block, or null when they are not known here. */
  get(block: number): Buffer | null {
    const record = Buffer.allocUnsafe(RECORD_BYTES)
    const read = readSync(this.#fd, record, 0, RECORD_BYTES, block * RECORD_BYTES)
    return read === RECORD_BYTES ? this.#open(record) : null
  }

  /** Every record, in order of block. */
  *scan(): Generator<{ block: number; ids: Buffer }> {
    const records = Math.floor(fstatSync(this.#fd).size / RECORD_BYTES)
    for (let block = 0; block < records; block += SCAN_RECORDS) {
      const bytes = Math.min(SCAN_RECORDS, records - block) * RECORD_BYTES
      const data = Buffer.allocUnsafe(bytes)
      const read = readSync(this.#fd, data, 0, bytes, block * RECORD_BYTES)
      for (let at = 0; at + RECORD_BYTES <= read; at += RECORD_BYTES) {
        const ids = this.#open(data.subarray(at, at + RECORD_BYTES))
        if (ids !== null) yield { block: block + at / RECORD_BYTES, ids }
      }
    }
  }

  close(): void {
    closeSync(this.#fd)
  }

  #open(record: Buffer): Buffer | null {
    const chunks = record.readUInt8(0)
    if (chunks === 0 || chunks > SEGMENT_CHUNKS_MAX) return null
    if (this.#sum(record).compare(record, 1, 8, 0, 7) !== 0) return null
    return record.subarray(8, 8 + chunks * CHUNK_ID_BYTES)
  }

  #sum(record: Buffer): Buffer {
    sodium.crypto_generichash(this.#checksum, record.subarray(8))
    return this.#checksum
  }
}
