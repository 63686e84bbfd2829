/**
 * What versions of volumes cost otherwise, from their images: block differencing (each changed block of 128 KiB, alone,
 * compressed), and the least that chunks of 4 KiB allow (those never seen before in any volume or version, compressed
 * 64 KiB at a time, with nothing around them). All zeros cost neither of them anything.
 */
import { createHash } from 'node:crypto'
import { open, type FileHandle } from 'node:fs/promises'
import { readPadded } from '../../../lib/base/read-padded.ts'
import { compress } from '../../../lib/chunk/compress.ts'

const BLOCK_BYTES = 128 * 1024
const CHUNK_BYTES = 4096
const SEGMENT_BYTES = 64 * 1024
const PIECE_BYTES = 4 * 1024 * 1024
const ZEROS = Buffer.alloc(PIECE_BYTES)

export interface Cost {
  /** Stored bytes of block differencing. */
  blockBytes: number
  /** Stored bytes of chunks that are new. */
  chunkBytes: number
}

export class Differences {
  readonly #seen = new Set<string>()

  /** Of the image `now` after `before`, the same volume a version earlier; null for its first one. */
  async cost(now: string, before: string | null): Promise<Cost> {
    const [file, old] = [await open(now), before === null ? null : await open(before)]
    try {
      return await this.#compare(file, old)
    } finally {
      await file.close()
      await old?.close()
    }
  }

  async #compare(file: FileHandle, old: FileHandle | null): Promise<Cost> {
    const cost = { blockBytes: 0, chunkBytes: 0 }
    const [piece, oldPiece] = [Buffer.alloc(PIECE_BYTES), Buffer.alloc(PIECE_BYTES)]
    const segment = new Segment()
    for (let at = 0; ; at += PIECE_BYTES) {
      const bytes = await readPadded(file, piece, at)
      if (bytes === 0) break
      if (old !== null) await readPadded(old, oldPiece, at)
      if (piece.equals(oldPiece)) continue
      for (let block = 0; block < bytes; block += BLOCK_BYTES) {
        const data = piece.subarray(block, block + BLOCK_BYTES)
        const oldData = oldPiece.subarray(block, block + BLOCK_BYTES)
        if (data.equals(oldData)) continue
        if (!isZero(data)) cost.blockBytes += compress(data).data.byteLength
        cost.chunkBytes += this.#newChunks(data, oldData, segment)
      }
    }
    cost.chunkBytes += segment.finish()
    return cost
  }

  /** Bytes of the segments that became full. */
  #newChunks(data: Buffer, oldData: Buffer, segment: Segment): number {
    let stored = 0
    for (let at = 0; at < data.byteLength; at += CHUNK_BYTES) {
      const chunk = data.subarray(at, at + CHUNK_BYTES)
      if (chunk.equals(oldData.subarray(at, at + CHUNK_BYTES)) || isZero(chunk)) continue
      const id = createHash('sha256').update(chunk).digest('base64').slice(0, 22)
      if (this.#seen.has(id)) continue
      this.#seen.add(id)
      stored += segment.add(chunk)
    }
    return stored
  }
}

class Segment {
  readonly #data = Buffer.alloc(SEGMENT_BYTES)
  #filled = 0

  add(chunk: Buffer): number {
    chunk.copy(this.#data, this.#filled)
    this.#filled += chunk.byteLength
    return this.#filled === SEGMENT_BYTES ? this.finish() : 0
  }

  finish(): number {
    const bytes = this.#filled
    this.#filled = 0
    return bytes === 0 ? 0 : compress(this.#data.subarray(0, bytes)).data.byteLength
  }
}

function isZero(data: Buffer): boolean {
  return data[0] === 0 && data.compare(ZEROS, 0, data.byteLength) === 0
}
