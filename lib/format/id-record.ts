/** Byte layout of a record of an id file: the chunk ids of one segment. See `README.md`. */
import sodium from 'sodium-universal'
import { CHUNK_ID_BYTES, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'

export const ID_RECORD_HEADER_BYTES = 8
export const ID_RECORD_BYTES = ID_RECORD_HEADER_BYTES + SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES
/** Of format 1; another format gets another name, so that each release finds its own. */
export const ID_FILE_SUFFIX = '.ids1'

/** Nothing is known of the block. */
export const UNKNOWN = -1

const CHECKSUM_BYTES = 7
const HASHED_BYTES = 8 + 1 + SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES
const hashed = Buffer.alloc(HASHED_BYTES)
const hash = Buffer.alloc(32)

/** Writes a record to `target`, which is zeros there; no ids for a block that is no segment. */
export function writeIdRecord(
  target: Buffer,
  at: number,
  log: Buffer,
  block: number,
  ids: Buffer
): void {
  target[at] = ids.byteLength / CHUNK_ID_BYTES
  ids.copy(target, at + ID_RECORD_HEADER_BYTES)
  checksum(target, at, log, block).copy(target, at + 1, 0, CHECKSUM_BYTES)
}

/** Chunks of the segment in that block, 0 for no segment, or `UNKNOWN`. */
export function readIdRecord(data: Buffer, at: number, log: Buffer, block: number): number {
  const chunks = data[at]
  if (chunks > SEGMENT_CHUNKS_MAX) return UNKNOWN
  if (data.readUInt32LE(at + 1) === 0 && isHole(data, at)) return UNKNOWN
  const sum = checksum(data, at, log, block)
  return sum.compare(data, at + 1, at + 1 + CHECKSUM_BYTES, 0, CHECKSUM_BYTES) === 0
    ? chunks
    : UNKNOWN
}

/** Never written: not worth a hash. */
function isHole(data: Buffer, at: number): boolean {
  return data.readUInt32LE(at) === 0 && data.readUInt32LE(at + 4) === 0
}

/** Over block number, chunk count and ids, keyed with the log: a record counts in its own place only. */
function checksum(data: Buffer, at: number, log: Buffer, block: number): Buffer {
  hashed.writeUInt32LE(block >>> 0, 0)
  hashed.writeUInt32LE(Math.floor(block / 0x1_0000_0000), 4)
  hashed[8] = data[at]
  data.copy(hashed, 9, at + ID_RECORD_HEADER_BYTES, at + ID_RECORD_BYTES)
  sodium.crypto_generichash(hash, hashed, log)
  return hash
}
