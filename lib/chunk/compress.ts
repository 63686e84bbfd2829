/** zstd, flagged per block: raw where it does not pay. The inverse is `decompress.ts`. */
import { Encoder } from '@toondepauw/node-zstd'
import { COMPRESSION_LEVEL } from '../base/limits.ts'

export const COMPRESSION = { RAW: 0, ZSTD: 1 } as const

/** By level. Each keeps its memory. */
const encoders = new Map<number, Encoder>()

export interface Compressed {
  compression: number
  data: Buffer
}

export function compress(data: Buffer, level = COMPRESSION_LEVEL): Compressed {
  let encoder = encoders.get(level)
  if (encoder === undefined) encoders.set(level, (encoder = new Encoder(level)))
  const encoded = encoder.encodeSync(data)
  if (encoded.byteLength >= data.byteLength - (data.byteLength >>> 5)) {
    return { compression: COMPRESSION.RAW, data }
  }
  return { compression: COMPRESSION.ZSTD, data: encoded }
}
