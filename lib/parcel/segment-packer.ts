/**
 * Packs new chunks into segments, compresses them on worker threads, seals and appends them in order, a batch at a
 * time. At most two batches are on their way at any time; `add` waits when there are more.
 *
 * After an append that failed nothing more is appended; `add` and `finish` reject.
 */
import { CHUNK_BYTES, CHUNK_ID_BYTES, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import { compress, type Compressed } from '../chunk/compress.ts'
import { packedSegmentBytes, writeSegment } from '../chunk/segment.ts'
import type { CommitSink } from './commit-sink.ts'

const BATCH_SEGMENTS = 32
const BATCH_IDS_BYTES = BATCH_SEGMENTS * SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES

interface Batch {
  first: number
  segments: Promise<Compressed>[]
  chunks: number[]
  ids: Buffer
  /** Its buffers, reused when it is sealed. */
  data: Buffer[]
}

export class SegmentPacker {
  /** Log index of the segment being filled. */
  block: number
  /** Chunks already in it. */
  slot = 0
  bytesStored = 0
  readonly #sink: CommitSink
  readonly #free: Buffer[] = []
  #data: Buffer
  #batch: Batch
  /** Chunks in the batch. */
  #count = 0
  #appending: Promise<void> = Promise.resolve()

  constructor(sink: CommitSink) {
    this.#sink = sink
    this.block = sink.firstBlock
    this.#batch = newBatch(this.block)
    this.#data = newSegment()
  }

  /**
   * Takes a copy of one chunk; it will be at (`block`, `slot`) as they were before the call.
   * Returns a promise when the caller must wait before it adds more.
   */
  add(data: Buffer, offset: number, ids: Buffer, index: number): Promise<void> | undefined {
    data.copy(this.#data, this.slot * CHUNK_BYTES, offset, offset + CHUNK_BYTES)
    const idAt = index * CHUNK_ID_BYTES
    ids.copy(this.#batch.ids, this.#count * CHUNK_ID_BYTES, idAt, idAt + CHUNK_ID_BYTES)
    this.#count++
    this.slot++
    if (this.slot < SEGMENT_CHUNKS_MAX) return undefined
    this.#close()
    return this.#batch.segments.length >= BATCH_SEGMENTS ? this.#flush() : undefined
  }

  /** Seals what is left and waits until all is appended. */
  async finish(): Promise<void> {
    if (this.slot > 0) this.#close()
    void this.#flush() // the promise of what came before; the next line waits for all of it
    await this.#appending
  }

  #close(): void {
    const segment = compress(this.#data.subarray(0, this.slot * CHUNK_BYTES))
    segment.catch(() => {}) // seen again when the batch is sealed
    this.#batch.segments.push(segment)
    this.#batch.chunks.push(this.slot)
    this.#batch.data.push(this.#data)
    this.#data = this.#free.pop() ?? newSegment()
    this.block++
    this.slot = 0
  }

  /** Sends the batch on its way; the promise is that of the batch before, so at most two are under way. */
  #flush(): Promise<void> {
    const batch = this.#batch
    batch.ids = batch.ids.subarray(0, this.#count * CHUNK_ID_BYTES)
    this.#batch = newBatch(this.block)
    this.#count = 0
    const previous = this.#appending
    this.#appending = previous.then(() => this.#append(batch))
    this.#appending.catch(() => {}) // awaited by the next flush
    return previous
  }

  async #append({ first, segments, chunks, ids, data }: Batch): Promise<void> {
    if (segments.length === 0) return
    const packed = await Promise.all(segments)
    const lengths = packed.map((segment, i) => packedSegmentBytes(chunks[i], segment))
    const blocks = Buffer.allocUnsafeSlow(lengths.reduce((sum, length) => sum + length, 0))
    const { log, keys, keyEpoch } = this.#sink
    let at = 0
    let idsAt = 0
    for (let i = 0; i < packed.length; i++) {
      const some = ids.subarray(idsAt, (idsAt += chunks[i] * CHUNK_ID_BYTES))
      const block = blocks.subarray(at, (at += lengths[i]))
      writeSegment(block, packed[i], some, log, first + i, keys, keyEpoch)
    }
    this.#free.push(...data)
    this.bytesStored += blocks.byteLength
    await this.#sink.append({ first, data: blocks, lengths, chunks, ids })
  }
}

function newBatch(first: number): Batch {
  const ids = Buffer.allocUnsafeSlow(BATCH_IDS_BYTES)
  return { first, segments: [], chunks: [], ids, data: [] }
}

function newSegment(): Buffer {
  return Buffer.allocUnsafeSlow(SEGMENT_CHUNKS_MAX * CHUNK_BYTES)
}
