/**
 * Keeps the dedup index up with segments that arrive from elsewhere: their ids are read from the sealed blocks,
 * in the background, some at a time. Nothing is lost when it is behind: `idsOf` reads a block itself.
 */
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_ID_BYTES, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import { openSegmentIds } from '../chunk/segment.ts'
import { KIND, readBlockHeader } from '../format/sealed.ts'
import type { DedupIndex } from './dedup-index.ts'
import type { Log, LogStorePort } from './ports.ts'

const QUEUE_MAX = 1_000_000
const PER_TURN = 32

/** The id key of a log, or null for one that holds no segments we can read. */
export type IdKeyOf = (log: Buffer) => Buffer | null

export class SegmentIndexer {
  readonly #store: LogStorePort
  readonly #index: DedupIndex
  readonly #idKeyOf: IdKeyOf
  readonly #queue: { log: Log; block: number }[] = []
  #working: Promise<void> | null = null
  #closed = false

  constructor(store: LogStorePort, index: DedupIndex, idKeyOf: IdKeyOf) {
    this.#store = store
    this.#index = index
    this.#idKeyOf = idKeyOf
  }

  /** Follows a log: call once for each log object. */
  follow(log: Log): void {
    log.on('stored', (block: number) => {
      if (this.#queue.length >= QUEUE_MAX || this.#closed) return
      this.#queue.push({ log, block })
      this.#start()
    })
  }

  /** Resolves when everything that has arrived so far is indexed. */
  async drained(): Promise<void> {
    while (this.#working !== null) await this.#working
  }

  close(): Promise<void> {
    this.#closed = true
    this.#queue.length = 0
    return this.drained()
  }

  /** The ids of a segment stored here, padded to 512 bytes. Rejects with `DATA_UNREACHABLE` when it is not here. */
  async idsOf(logKey: Buffer, block: number, out: Buffer, at: number): Promise<void> {
    let ids = this.#index.idsOf(logKey, block)
    if (ids === null) {
      const log = await this.#store.open(logKey)
      const data = await log.read(block)
      if (data === null) {
        throw new HyperparcelError('DATA_UNREACHABLE', 'A segment of the parent is not stored here')
      }
      ids = this.#add(log, block, data)
      if (ids === null) {
        throw new HyperparcelError('KEY_MISSING', 'A segment belongs to a log without a known key')
      }
    }
    out.fill(0, at, at + SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES)
    ids.copy(out, at)
  }

  #start(): void {
    if (this.#working !== null) return
    this.#working = this.#work().finally(() => {
      this.#working = null
      if (this.#queue.length > 0) this.#start()
    })
    this.#working.catch(safetyCatch)
  }

  async #work(): Promise<void> {
    while (this.#queue.length > 0) {
      for (const { log, block } of this.#queue.splice(0, PER_TURN)) {
        const data = await log.read(block)
        if (data !== null && isSegment(data)) this.#add(log, block, data)
      }
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  #add(log: Log, block: number, data: Buffer): Buffer | null {
    const key = this.#idKeyOf(log.key)
    if (key === null) return null
    const ids = openSegmentIds(data, log.key, key)
    this.#index.add(log.key, block, ids)
    return ids
  }
}

function isSegment(block: Buffer): boolean {
  return block.byteLength > 8 && readBlockHeader(block).kind === KIND.SEGMENT
}
