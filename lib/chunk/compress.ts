/**
 * zstd, flagged per block: raw where it does not pay. Native code compresses; WebAssembly decompresses, as fast, into
 * no more than what a block says it holds, and whatever the data, it touches nothing outside its own memory.
 */
import { Encoder } from '@toondepauw/node-zstd'
import { ZSTDDecoder } from 'zstddec'
import { HyperparcelError } from '../base/errors.ts'

export const COMPRESSION = { RAW: 0, ZSTD: 1 } as const

/** 64 KiB pieces of guest RAM: level 3 runs nearly as fast as level 1 and is 5 % smaller. */
const COMPRESSION_LEVEL = 3

const encoder = new Encoder(COMPRESSION_LEVEL)
const decoder = new ZSTDDecoder()
await decoder.init()

export interface Compressed {
  compression: number
  data: Buffer
}

export function compress(data: Buffer): Compressed {
  const encoded = encoder.encodeSync(data)
  if (encoded.byteLength >= data.byteLength - (data.byteLength >>> 5)) {
    return { compression: COMPRESSION.RAW, data }
  }
  return { compression: COMPRESSION.ZSTD, data: encoded }
}

/** The inverse; `rawBytes` is what must come out. Raw data is returned as it is, without a copy. */
export function decompress(compression: number, data: Buffer, rawBytes: number): Buffer {
  if (compression === COMPRESSION.RAW && data.byteLength === rawBytes) return data
  if (compression !== COMPRESSION.ZSTD || rawBytes === 0) throw corrupt()
  const raw = decode(data, rawBytes)
  if (raw.byteLength !== rawBytes) throw corrupt()
  return Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength)
}

/** Shorter than `rawBytes`, or empty, where the data is wrong. */
function decode(data: Buffer, rawBytes: number): Uint8Array {
  try {
    return decoder.decode(data, rawBytes)
  } catch (err) {
    throw corrupt(err)
  }
}

function corrupt(cause?: unknown): HyperparcelError {
  return new HyperparcelError('DATA_CORRUPT', 'Compressed data does not decode to what it says', {
    cause
  })
}
