/** Chunk ids as `hashChunks` gives them. */
import { CHUNK_ID_BYTES } from '../base/limits.ts'

/** Moves the ids of chunks that are not zero together; `kept` says which chunks they are of. */
export function keepIds(all: Buffer, chunks: number): { ids: Buffer; kept: number[] } {
  const kept: number[] = []
  for (let i = 0; i < chunks; i++) {
    const at = i * CHUNK_ID_BYTES
    if (isNoId(all, at)) continue
    if (kept.length < i) all.copyWithin(kept.length * CHUNK_ID_BYTES, at, at + CHUNK_ID_BYTES)
    kept.push(i)
  }
  return { ids: all.subarray(0, kept.length * CHUNK_ID_BYTES), kept }
}

/** What a short segment has in the place of an id, and a chunk of zeros. No chunk hashes to it. */
export function isNoId(ids: Buffer, at: number): boolean {
  for (let i = at; i < at + CHUNK_ID_BYTES; i++) if (ids[i] !== 0) return false
  return true
}
