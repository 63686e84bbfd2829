/**
 * The work on chunks that a commit hands to threads: ids of many chunks, segments of a batch. Pure functions over
 * buffers that their caller owns; whole memory blocks go to a thread and come back, nothing is copied.
 */
import { CHUNK_BYTES, CHUNK_ID_BYTES, SEGMENT_DATA_BYTES } from '../base/limits.ts'
import { SEGMENT_BYTES_MAX } from '../format/segment.ts'
import { compress } from './compress.ts'
import { isZeroChunk, writeChunkId } from './ids.ts'
import { packedSegmentBytes, writeSegment, type LogKeys } from './segment.ts'

export interface HashJob {
  kind: 'hash'
  /** Chunks one after the other. */
  data: Buffer
  chunks: number
  dedupKey: Buffer
}

export interface Hashed {
  data: Buffer
  /** 32 bytes a chunk; zeros, which no chunk hashes to, for a chunk of zeros. */
  ids: Buffer
}

export interface SealJob {
  kind: 'seal'
  /** A place of 64 KiB for each segment. */
  data: Buffer
  /** Chunks of each segment. */
  chunks: number[]
  /** Ids of all these chunks. */
  ids: Buffer
  /** Where the segments go, large enough for `sealedBytesMax`. */
  target: Buffer
  log: Buffer
  /** Log index of the first one. */
  first: number
  keys: LogKeys
  keyEpoch: number
  compressionLevel: number
}

export interface Sealed {
  data: Buffer
  ids: Buffer
  /** The segments one after the other. */
  target: Buffer
  /** Bytes of each. */
  lengths: number[]
}

/** Room that so many sealed segments may take. */
export function sealedBytesMax(segments: number): number {
  return segments * SEGMENT_BYTES_MAX
}

export function hashChunks({ data, chunks, dedupKey }: HashJob): Hashed {
  const ids = Buffer.allocUnsafeSlow(chunks * CHUNK_ID_BYTES)
  for (let i = 0; i < chunks; i++) {
    if (isZeroChunk(data, i * CHUNK_BYTES)) {
      ids.fill(0, i * CHUNK_ID_BYTES, (i + 1) * CHUNK_ID_BYTES)
    } else {
      writeChunkId(ids, i, data, i * CHUNK_BYTES, dedupKey)
    }
  }
  return { data, ids }
}

export function sealSegments(job: SealJob): Sealed {
  const { data, chunks, ids, target, log, first, keys, keyEpoch, compressionLevel } = job
  const lengths: number[] = []
  let at = 0
  let idsAt = 0
  for (let i = 0; i < chunks.length; i++) {
    const from = i * SEGMENT_DATA_BYTES
    const packed = compress(data.subarray(from, from + chunks[i] * CHUNK_BYTES), compressionLevel)
    const length = packedSegmentBytes(chunks[i], packed)
    const some = ids.subarray(idsAt, (idsAt += chunks[i] * CHUNK_ID_BYTES))
    const block = target.subarray(at, (at += length))
    writeSegment(block, packed, some, log, first + i, keys, keyEpoch)
    lengths.push(length)
  }
  return { data, ids, target, lengths }
}
