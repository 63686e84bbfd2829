/**
 * Packs new chunks into segments, compresses and seals them on worker threads, and appends them in order.
 * At most two batches are on their way at any time; `add` waits when there are more.
 */
import { CHUNK_BYTES, CHUNK_ID_BYTES, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import { sealSegment } from '../chunk/segment.ts'
import type { CommitSink } from './commit-sink.ts'

const BATCH_SEGMENTS = 32

export class SegmentPacker {
  /** Log index of the segment being filled. */
  block: number
  /** Chunks already in it. */
  slot = 0
  chunks = 0
  bytesStored = 0
  readonly #sink: CommitSink
  #data = Buffer.allocUnsafeSlow(SEGMENT_CHUNKS_MAX * CHUNK_BYTES)
  #ids = Buffer.allocUnsafeSlow(SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES)
  #sealing: { block: Promise<Buffer>; ids: Buffer }[] = []
  #appending: Promise<void> = Promise.resolve()

  constructor(sink: CommitSink) {
    this.#sink = sink
    this.block = sink.firstBlock
  }

  /**
   * Takes a copy of one chunk; it will be at (`block`, `slot`) as they were before the call.
   * Returns a promise when the caller must wait before it adds more.
   */
  add(data: Buffer, offset: number, ids: Buffer, index: number): Promise<void> | undefined {
    data.copy(this.#data, this.slot * CHUNK_BYTES, offset, offset + CHUNK_BYTES)
    ids.copy(
      this.#ids,
      this.slot * CHUNK_ID_BYTES,
      index * CHUNK_ID_BYTES,
      (index + 1) * CHUNK_ID_BYTES
    )
    this.slot++
    this.chunks++
    if (this.slot < SEGMENT_CHUNKS_MAX) return undefined
    this.#close()
    return this.#sealing.length >= BATCH_SEGMENTS ? this.#flush() : undefined
  }

  /** Seals what is left and waits until all is appended. */
  async finish(): Promise<void> {
    if (this.slot > 0) this.#close()
    void this.#flush()
    await this.#appending
  }

  #close(): void {
    const data = this.#data.subarray(0, this.slot * CHUNK_BYTES)
    const ids = this.#ids.subarray(0, this.slot * CHUNK_ID_BYTES)
    const { log, keys, keyEpoch } = this.#sink
    const block = sealSegment(data, ids, log, keys, keyEpoch)
    block.catch(() => {}) // seen again when the batch is appended
    this.#sealing.push({ block, ids })
    this.#data = Buffer.allocUnsafeSlow(SEGMENT_CHUNKS_MAX * CHUNK_BYTES)
    this.#ids = Buffer.allocUnsafeSlow(SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES)
    this.block++
    this.slot = 0
  }

  /** Sends the batch on its way; the promise is that of the batch before, so at most two are under way. */
  #flush(): Promise<void> {
    const batch = this.#sealing
    this.#sealing = []
    const previous = this.#appending
    this.#appending = previous.then(() => this.#append(batch))
    this.#appending.catch(() => {}) // awaited by the next flush
    return previous
  }

  async #append(batch: { block: Promise<Buffer>; ids: Buffer }[]): Promise<void> {
    if (batch.length === 0) return
    const blocks = await Promise.all(batch.map((s) => s.block))
    for (const block of blocks) this.bytesStored += block.byteLength
    await this.#sink.append(
      blocks,
      batch.map((s) => s.ids)
    )
  }
}
