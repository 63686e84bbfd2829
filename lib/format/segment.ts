/** Byte layout of a segment: up to 16 new chunks, ids and data sealed apart. Sealing itself is in `lib/chunk`. */
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_BYTES, CHUNK_ID_BYTES, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import { BLOCK_HEADER_BYTES, KIND, readBlockHeader, writeBlockHeader } from './sealed.ts'

/** Block header, chunk count, compression, two reserved zero bytes. All of it is associated data of both seals. */
export const SEGMENT_HEADER_BYTES = BLOCK_HEADER_BYTES + 4
const NONCE_BYTES = 24
const TAG_BYTES = 16
/** The largest segment: 16 chunks that did not compress. */
export const SEGMENT_BYTES_MAX =
  SEGMENT_HEADER_BYTES +
  NONCE_BYTES +
  SEGMENT_CHUNKS_MAX * (CHUNK_ID_BYTES + CHUNK_BYTES) +
  2 * TAG_BYTES

export interface SegmentLayout {
  keyEpoch: number
  chunks: number
  compression: number
  nonce: Buffer
  /** Sealed under the id key. */
  sealedIds: Buffer
  /** Sealed under the data key. */
  sealedData: Buffer
}

export function segmentBytes(chunks: number, dataBytes: number): number {
  return (
    SEGMENT_HEADER_BYTES + NONCE_BYTES + chunks * CHUNK_ID_BYTES + TAG_BYTES + dataBytes + TAG_BYTES
  )
}

export function writeSegmentHeader(
  block: Buffer,
  keyEpoch: number,
  chunks: number,
  compression: number,
  kind: number = KIND.SEGMENT
): void {
  writeBlockHeader(block, kind, keyEpoch)
  block.writeUInt8(chunks, 8)
  block.writeUInt8(compression, 9)
  block.writeUInt16LE(0, 10)
}

/**
 * The part of a block that names its chunk ids, sealed: all before the data; null when it is no segment. Without the data
 * it is worth nothing to who has no id key.
 */
export function segmentHead(block: Buffer): Buffer | null {
  try {
    const { sealedData } = layoutSegment(block)
    return block.subarray(0, block.byteLength - sealedData.byteLength)
  } catch {
    return null
  }
}

/** Cuts a block into its parts, without copying. Throws `FORMAT_INVALID` when it is no segment. */
export function layoutSegment(block: Buffer, wanted: number = KIND.SEGMENT): SegmentLayout {
  const { kind, keyEpoch } = readBlockHeader(block)
  const chunks = block.byteLength > SEGMENT_HEADER_BYTES ? block.readUInt8(8) : 0
  const idsAt = SEGMENT_HEADER_BYTES + NONCE_BYTES
  const dataAt = idsAt + chunks * CHUNK_ID_BYTES + TAG_BYTES
  if (
    kind !== wanted ||
    chunks === 0 ||
    chunks > SEGMENT_CHUNKS_MAX ||
    block.byteLength > SEGMENT_BYTES_MAX ||
    block.byteLength < dataAt + TAG_BYTES
  ) {
    throw new HyperparcelError('FORMAT_INVALID', 'A log block is not a valid segment')
  }
  return {
    keyEpoch,
    chunks,
    compression: block.readUInt8(9),
    nonce: block.subarray(SEGMENT_HEADER_BYTES, idsAt),
    sealedIds: block.subarray(idsAt, dataAt),
    sealedData: block.subarray(dataAt)
  }
}
