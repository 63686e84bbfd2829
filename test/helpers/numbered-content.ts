/** Chunks that were written one after the other, over and over, each filled with the number of its write. */
import { CHUNK_BYTES } from '../../lib/base/limits.ts'

export const NUMBERED_CHUNKS = 64

/** After that many writes. */
export function numberedContent(writes: number): Buffer {
  const content = Buffer.alloc(NUMBERED_CHUNKS * CHUNK_BYTES)
  for (let chunk = 0; chunk < NUMBERED_CHUNKS; chunk++) {
    content.fill(newestNumber(chunk, writes) % 251, chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES)
  }
  return content
}

/** The last write of a chunk among that many; 0 where there is none. */
export function newestNumber(chunk: number, writes: number): number {
  return Math.max(0, writes - ((writes - chunk + NUMBERED_CHUNKS) % NUMBERED_CHUNKS))
}
