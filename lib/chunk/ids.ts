/** Chunk ids: BLAKE2b-256 of the plaintext, keyed with the fleet's dedup key, so that equal ids tell outsiders nothing. */
import sodium from 'sodium-universal'
import { CHUNK_BYTES, CHUNK_ID_BYTES } from '../base/limits.ts'

const ZERO_CHUNK = Buffer.alloc(CHUNK_BYTES)

/** Is the chunk at `offset` of `data` all zeros? Zero chunks are never stored. */
export function isZeroChunk(data: Buffer, offset: number): boolean {
  // Most chunks with data differ in the first bytes; comparing costs a native call.
  if (data[offset] !== 0 || data[offset + CHUNK_BYTES - 1] !== 0) return false
  return data.compare(ZERO_CHUNK, 0, CHUNK_BYTES, offset, offset + CHUNK_BYTES) === 0
}

/** Writes the id of the chunk at `offset` of `data` into `ids` at position `index`. */
export function writeChunkId(
  ids: Buffer,
  index: number,
  data: Buffer,
  offset: number,
  dedupKey: Buffer
): void {
  const at = index * CHUNK_ID_BYTES
  sodium.crypto_generichash(
    ids.subarray(at, at + CHUNK_ID_BYTES),
    data.subarray(offset, offset + CHUNK_BYTES),
    dedupKey
  )
}
