/**
 * Packs new chunks into segments and has them compressed and sealed a batch at a time, several batches at once
 * (`chunk-work.ts`). They are appended in order. A batch more than there are lanes is on its way at most; `add` waits
 * when there are more. Buffers of a batch are used again when it was appended.
 *
 * After an append that failed nothing more is appended; `add` and `finish` reject.
 */
import {
  CHUNK_BYTES,
  CHUNK_ID_BYTES,
  SEGMENT_CHUNKS_MAX,
  SEGMENT_DATA_BYTES
} from '../base/limits.ts'
import { sealedBytesMax, type Sealed } from '../chunk/jobs.ts'
import type { ChunkWork } from './chunk-work.ts'
import type { CommitSink } from './commit-sink.ts'

const BATCH_SEGMENTS = 32

interface Batch {
  first: number
  chunks: number[]
  /** A place of 64 KiB for each segment. */
  data: Buffer
  ids: Buffer
  target: Buffer
}

export class SegmentPacker {
  /** Log index of the segment being filled. */
  block: number
  /** Chunks already in it. */
  slot = 0
  bytesStored = 0
  readonly #sink: CommitSink
  readonly #work: ChunkWork
  readonly #free: Omit<Batch, 'first' | 'chunks'>[] = []
  /** Appends under way, the oldest first. */
  readonly #underWay: Promise<void>[] = []
  #batch: Batch
  /** Chunks in the batch. */
  #count = 0
  #appended: Promise<void> = Promise.resolve()

  constructor(sink: CommitSink, work: ChunkWork) {
    this.#sink = sink
    this.#work = work
    this.block = sink.firstBlock
    this.#batch = this.#newBatch()
  }

  /**
   * Takes a copy of one chunk; it will be at (`block`, `slot`) as they were before the call.
   * Returns a promise when the caller must wait before it adds more.
   */
  add(data: Buffer, offset: number, ids: Buffer, index: number): Promise<void> | undefined {
    const batch = this.#batch
    const at = batch.chunks.length * SEGMENT_DATA_BYTES + this.slot * CHUNK_BYTES
    data.copy(batch.data, at, offset, offset + CHUNK_BYTES)
    const idAt = index * CHUNK_ID_BYTES
    ids.copy(batch.ids, this.#count * CHUNK_ID_BYTES, idAt, idAt + CHUNK_ID_BYTES)
    this.#count++
    this.slot++
    if (this.slot < SEGMENT_CHUNKS_MAX) return undefined
    this.#close()
    return batch.chunks.length >= BATCH_SEGMENTS ? this.#flush() : undefined
  }

  /** Seals what is left and waits until all is appended. */
  async finish(): Promise<void> {
    if (this.slot > 0) this.#close()
    if (this.#batch.chunks.length > 0) void this.#flush() // the next line waits for all of it
    await this.#appended
  }

  #close(): void {
    this.#batch.chunks.push(this.slot)
    this.block++
    this.slot = 0
  }

  /** Sends the batch on its way; the promise is that of the oldest one, when too many are. */
  #flush(): Promise<void> | undefined {
    const batch = this.#batch
    const { log, keys, keyEpoch, compressionLevel } = this.#sink
    const job = { kind: 'seal', ...batch, log, keys, keyEpoch, compressionLevel } as const
    const sealed = this.#work.seal(job)
    sealed.catch(() => {}) // seen when its turn to be appended comes
    const previous = this.#appended
    this.#appended = previous.then(async () => this.#append(batch, await sealed))
    this.#appended.catch(() => {}) // awaited by a later flush
    this.#underWay.push(this.#appended)
    this.#batch = this.#newBatch()
    this.#count = 0
    return this.#underWay.length > this.#work.lanes ? this.#underWay.shift() : undefined
  }

  async #append({ first, chunks }: Batch, sealed: Sealed): Promise<void> {
    const { data, ids, target, lengths } = sealed
    const total = chunks.reduce((sum, count) => sum + count, 0)
    const bytes = lengths.reduce((sum, length) => sum + length, 0)
    this.bytesStored += bytes
    await this.#sink.append({
      first,
      data: target.subarray(0, bytes),
      lengths,
      chunks,
      ids: ids.subarray(0, total * CHUNK_ID_BYTES)
    })
    this.#free.push({ data, ids, target })
  }

  #newBatch(): Batch {
    const buffers = this.#free.pop() ?? {
      data: Buffer.allocUnsafeSlow(BATCH_SEGMENTS * SEGMENT_DATA_BYTES),
      ids: Buffer.allocUnsafeSlow(BATCH_SEGMENTS * SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES),
      target: Buffer.allocUnsafeSlow(sealedBytesMax(BATCH_SEGMENTS))
    }
    return { ...buffers, first: this.block, chunks: [] }
  }
}
