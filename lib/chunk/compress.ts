/** zstd, flagged per block: raw where it does not pay. The inverse is `decompress.ts`. */
import { Encoder } from '@toondepauw/node-zstd'

export const COMPRESSION = { RAW: 0, ZSTD: 1 } as const

/** 64 KiB pieces of guest RAM: level 3 runs nearly as fast as level 1 and is 5 % smaller. */
const COMPRESSION_LEVEL = 3

const encoder = new Encoder(COMPRESSION_LEVEL)

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
