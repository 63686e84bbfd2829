/** zstd, flagged per block: raw where it does not pay. Level 1 to 3 by measurement (see `COMPRESSION_LEVEL`). */
import { Encoder, Decoder } from '@toondepauw/node-zstd'
import { HyperparcelError } from '../base/errors.ts'

export const COMPRESSION = { RAW: 0, ZSTD: 1 } as const

/** 64 KiB pieces of guest RAM: level 3 runs nearly as fast as level 1 and is 5 % smaller. */
const COMPRESSION_LEVEL = 3

const encoder = new Encoder(COMPRESSION_LEVEL)
const decoder = new Decoder()

export interface Compressed {
  compression: number
  data: Buffer
}

/** Compresses on a worker thread. Keeps `data` until it resolves. */
export async function compress(data: Buffer): Promise<Compressed> {
  return choose(data, await encoder.encode(data))
}

export function compressSync(data: Buffer): Compressed {
  return choose(data, encoder.encodeSync(data))
}

function choose(data: Buffer, encoded: Buffer): Compressed {
  if (encoded.byteLength >= data.byteLength - (data.byteLength >>> 5)) {
    return { compression: COMPRESSION.RAW, data }
  }
  return { compression: COMPRESSION.ZSTD, data: encoded }
}

/**
 * The inverse; `rawBytes` is what must come out. How large a frame can grow is bounded before it is decoded:
 * the encoder writes no content size, but a block of a frame never yields more than 128 KiB, and an encoder that
 * splits finely makes some 200 blocks of 128 KiB.
 */
export function decompress(compression: number, data: Buffer, rawBytes: number): Buffer {
  if (compression === COMPRESSION.RAW) {
    if (data.byteLength !== rawBytes) throw corrupt()
    return data
  }
  if (compression !== COMPRESSION.ZSTD) throw corrupt()
  if (frameBlocks(data) > BLOCKS_MIN + rawBytes / SPLIT_BYTES) throw corrupt()
  const raw = decode(data)
  if (raw.byteLength !== rawBytes) throw corrupt()
  return raw
}

function decode(data: Buffer): Buffer {
  try {
    return decoder.decodeSync(data)
  } catch (err) {
    throw corrupt(err)
  }
}

const BLOCKS_MIN = 8
const SPLIT_BYTES = 512

/**
 * The number of blocks in a zstd frame (RFC 8878, 3.1.1), read from its block headers. Nothing may follow the
 * frame: the decoder would go on with the next one.
 */
function frameBlocks(frame: Buffer): number {
  if (frame.byteLength < 9 || frame.readUInt32LE(0) !== 0xfd2fb528) throw corrupt()
  const descriptor = frame[4]
  const singleSegment = (descriptor & 0x20) !== 0
  const sizeFlag = descriptor >> 6
  const contentSizeBytes = sizeFlag === 0 ? (singleSegment ? 1 : 0) : 1 << sizeFlag
  let at = 5 + (singleSegment ? 0 : 1) + [0, 1, 2, 4][descriptor & 3] + contentSizeBytes
  for (let blocks = 1; ; blocks++) {
    if (at + 3 > frame.byteLength) throw corrupt()
    const header = frame.readUIntLE(at, 3)
    const runLength = ((header >> 1) & 3) === 1
    at += 3 + (runLength ? 1 : header >> 3)
    if ((header & 1) === 0) continue
    const checksumBytes = (descriptor & 4) === 0 ? 0 : 4
    if (at + checksumBytes !== frame.byteLength) throw corrupt()
    return blocks
  }
}

function corrupt(cause?: unknown): HyperparcelError {
  return new HyperparcelError('DATA_CORRUPT', 'Compressed data does not decode to what it says', {
    cause
  })
}
