/**
 * Sealing and opening of segments. Both seals of a segment share one random nonce under different keys, and
 * bind the segment's header and its place. The daemon has the id key at hand and indexes with it;
 * only a runner opens data.
 */
import { CHUNK_BYTES, CHUNK_ID_BYTES } from '../base/limits.ts'
import {
  layoutSegment,
  segmentBytes,
  writeSegmentHeader,
  SEGMENT_HEADER_BYTES
} from '../format/segment.ts'
import { KIND } from '../format/sealed.ts'
import { NONCE_BYTES, TAG_BYTES, open, seal, sealWith } from './aead.ts'
import { COMPRESSION, type Compressed } from './compress.ts'
import { corrupt, decompressSource, sourceBuffer } from './decompress.ts'
import { associatedData } from './place.ts'

/** The seal of no data at all, in the place of data that is not here. */
const NO_DATA = Buffer.alloc(TAG_BYTES)

/** The keys of one log, derived from its parcel's key (`lib/fleet`). */
export interface LogKeys {
  /** Opens the chunk ids of segments. */
  id: Buffer
  /** Opens the data of segments. */
  data: Buffer
  /** Opens map nodes, version records and device state. */
  meta: Buffer
}

/** Bytes of a segment of that many chunks with that data. */
export function packedSegmentBytes(chunks: number, packed: Compressed): number {
  return segmentBytes(chunks, packed.data.byteLength)
}

/** Seals compressed chunks into `block`, which has exactly `packedSegmentBytes`. */
export function writeSegment(
  block: Buffer,
  packed: Compressed,
  ids: Buffer,
  log: Buffer,
  index: number,
  keys: LogKeys,
  keyEpoch: number,
  kind: number = KIND.SEGMENT
): void {
  const chunks = ids.byteLength / CHUNK_ID_BYTES
  writeSegmentHeader(block, keyEpoch, chunks, packed.compression, kind)
  const associated = associatedData(block, SEGMENT_HEADER_BYTES, log, index)
  const idsAt = SEGMENT_HEADER_BYTES + NONCE_BYTES
  const dataAt = idsAt + chunks * CHUNK_ID_BYTES + TAG_BYTES
  const nonce = block.subarray(SEGMENT_HEADER_BYTES, idsAt)
  seal(block.subarray(idsAt, dataAt), nonce, ids, associated, keys.id)
  sealWith(block.subarray(dataAt), nonce, packed.data, associated, keys.data)
}

/** The chunk ids of a segment, 32 bytes each. Throws `DATA_CORRUPT` or `FORMAT_INVALID`. */
export function openSegmentIds(
  block: Buffer,
  log: Buffer,
  index: number,
  idKey: Buffer,
  kind: number = KIND.SEGMENT
): Buffer {
  const s = layoutSegment(block, kind)
  const ids = Buffer.allocUnsafe(s.chunks * CHUNK_ID_BYTES)
  open(ids, s.nonce, s.sealedIds, associatedData(block, SEGMENT_HEADER_BYTES, log, index), idKey)
  return ids
}

/** The chunk ids of a segment of which only the head is here (`segmentHead`). Throws as `openSegmentIds`. */
export function openHeadIds(head: Buffer, log: Buffer, index: number, idKey: Buffer): Buffer {
  return openSegmentIds(Buffer.concat([head, NO_DATA]), log, index, idKey)
}

/**
 * Opens the chunks of a segment into `target`, which has room for 16 of them, and returns the part that they fill, one
 * after the other. Throws `DATA_CORRUPT` or `FORMAT_INVALID`; what is in `target` then is not to be used.
 */
export function openSegment(
  block: Buffer,
  log: Buffer,
  index: number,
  dataKey: Buffer,
  target: Buffer,
  kind: number = KIND.SEGMENT
): Buffer {
  const s = layoutSegment(block, kind)
  const data = target.subarray(0, s.chunks * CHUNK_BYTES)
  const packedBytes = s.sealedData.byteLength - TAG_BYTES
  const isRaw = s.compression === COMPRESSION.RAW
  if (isRaw ? packedBytes !== data.byteLength : s.compression !== COMPRESSION.ZSTD) throw corrupt()
  const packed = isRaw ? data : sourceBuffer(packedBytes)
  const associated = associatedData(block, SEGMENT_HEADER_BYTES, log, index)
  open(packed, s.nonce, s.sealedData, associated, dataKey)
  if (!isRaw) decompressSource(packedBytes, data)
  return data
}
