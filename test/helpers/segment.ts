/** One sealed segment, alone. */
import { CHUNK_BYTES } from '../../lib/base/limits.ts'
import { compress } from '../../lib/chunk/compress.ts'
import { packedSegmentBytes, writeSegment, type LogKeys } from '../../lib/chunk/segment.ts'

/** Seals 1 to 16 chunks for the place `index` of the log with that key. */
export function sealSegment(
  data: Buffer,
  ids: Buffer,
  log: Buffer,
  index: number,
  keys: LogKeys,
  keyEpoch: number
): Buffer {
  const packed = compress(data)
  const block = Buffer.allocUnsafeSlow(packedSegmentBytes(data.byteLength / CHUNK_BYTES, packed))
  writeSegment(block, packed, ids, log, index, keys, keyEpoch)
  return block
}
