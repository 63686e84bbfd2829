/**
 * Keeps the dedup index up with what is stored: segments that arrive from elsewhere, and stored ones that it does
 * not know (an index that was lost or damaged, keys that came later). Ids are read from the sealed blocks, in the
 * background. Nothing is lost when it is behind: `idsOf` reads a block itself.
 *
 * Bounded: at most `QUEUE_MAX` blocks wait; a log of which more arrived is looked through instead.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import { faultPoint } from '../base/fault-point.ts'
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_ID_BYTES, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import { openSegmentIds } from '../chunk/segment.ts'
import { KIND, readBlockHeader } from '../format/sealed.ts'
import type { DedupIndex } from './dedup-index.ts'
import type { BlockRun, Log, LogStorePort } from './ports.ts'

const QUEUE_MAX = 65_536
const PER_TURN = 32
/** Runs of blocks asked for at once. */
const RUNS_MAX = 1024
/** Blocks of a log that are looked through before a pause that leaves time for others. */
const SCAN_BLOCKS = 16
const SCAN_PAUSE_MS = 10
const DRAIN_TIMEOUT_MS = 1000
const SEGMENT_ID_BYTES = SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES
const NO_IDS = Buffer.alloc(0)

/** The id key of a log, or null for one that holds no segments we can read. */
export type IdKeyOf = (log: Buffer) => Buffer | null

export class SegmentIndexer {
  readonly #store: LogStorePort
  readonly #index: DedupIndex
  readonly #idKeyOf: IdKeyOf
  #queue: { log: Log; block: number }[] = []
  /** Logs (hex) to look through, and those that wait for a key. */
  readonly #scans = new Set<string>()
  readonly #keyless = new Set<string>()
  #arrived = 0
  #done = 0
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
      if (this.#closed) return
      if (this.#queue.length >= QUEUE_MAX) {
        this.#scans.add(log.key.toString('hex'))
      } else {
        this.#queue.push({ log, block })
        this.#arrived++
      }
      this.#start()
    })
  }

  /** Looks through everything that is stored for segments that the index does not know. */
  async rebuild(): Promise<void> {
    for (const key of await this.#store.list()) this.#scans.add(key.toString('hex'))
    this.#start()
  }

  /** Keys of more logs may be known now. */
  keysChanged(): void {
    if (this.#keyless.size === 0) return
    for (const name of this.#keyless) this.#scans.add(name)
    this.#keyless.clear()
    this.#start()
  }

  /** Resolves when everything that has arrived so far is indexed, or when that takes too long. */
  async drained(timeoutMs = DRAIN_TIMEOUT_MS): Promise<void> {
    const target = this.#arrived
    const deadline = performance.now() + timeoutMs
    while (this.#done < target && !this.#closed && performance.now() < deadline) await sleep(2)
  }

  /** Resolves when there is nothing left to do. */
  async idle(): Promise<void> {
    while (this.#working !== null) await this.#working
  }

  close(): Promise<void> {
    this.#closed = true
    this.#queue = []
    this.#scans.clear()
    return this.idle()
  }

  /**
   * Ids of segments stored here, 512 bytes each, the rest of a short one zeros.
   * @param logs keys of logs
   * @param segments pairs: which of the logs, block
   * Rejects with `DATA_UNREACHABLE` when one is not here.
   */
  async idsOf(logs: Buffer[], segments: Uint32Array): Promise<Buffer> {
    const count = segments.length / 2
    const out = Buffer.allocUnsafe(count * SEGMENT_ID_BYTES)
    for (let i = 0; i < count;) {
      const log = logs[segments[i * 2]]
      const first = segments[i * 2 + 1]
      let n = 1
      while (
        i + n < count &&
        segments[(i + n) * 2] === segments[i * 2] &&
        segments[(i + n) * 2 + 1] === first + n
      ) {
        n++
      }
      const part = out.subarray(i * SEGMENT_ID_BYTES, (i + n) * SEGMENT_ID_BYTES)
      for (const block of await this.#index.idsOf(log, first, n, part)) {
        const ids = await this.#readIds(log, block)
        ids.copy(part, (block - first) * SEGMENT_ID_BYTES)
      }
      i += n
    }
    return out
  }

  /** From the segment itself. */
  async #readIds(key: Buffer, block: number): Promise<Buffer> {
    const log = await this.#store.open(key)
    const data = await log.read(block)
    if (data === null) {
      throw new HyperparcelError('DATA_UNREACHABLE', 'A segment of the parent is not stored here')
    }
    const idKey = this.#idKeyOf(key)
    if (idKey === null) {
      throw new HyperparcelError('KEY_MISSING', 'A segment belongs to a log without a known key')
    }
    const ids = openSegmentIds(data, key, block, idKey)
    await this.#index.add(key, block, [ids.byteLength / CHUNK_ID_BYTES], ids)
    return ids
  }

  #start(): void {
    if (this.#working !== null || this.#closed) return
    this.#working = this.#work().finally(() => {
      this.#working = null
      if (this.#queue.length > 0 || this.#scans.size > 0) this.#start()
    })
    this.#working.catch(safetyCatch)
  }

  async #work(): Promise<void> {
    for (;;) {
      while (this.#queue.length > 0) await this.#turn()
      const [name] = this.#scans
      if (name === undefined || this.#closed) return
      this.#scans.delete(name)
      await this.#scan(name).catch(safetyCatch) // The disk: whoever needs the log hears of it.
    }
  }

  async #turn(): Promise<void> {
    for (const { log, block } of this.#queue.splice(0, PER_TURN)) {
      await this.#indexBlock(log, block)
      this.#done++
    }
    await new Promise((resolve) => setImmediate(resolve))
  }

  async #scan(name: string): Promise<void> {
    const log = await this.#store.open(Buffer.from(name, 'hex'))
    let looked = 0
    for await (const run of storedRuns(log)) {
      for (let at = 0; at < run.count; at += QUEUE_MAX) {
        const count = Math.min(QUEUE_MAX, run.count - at)
        for (const block of await this.#index.unknown(log.key, run.start + at, count)) {
          if (this.#closed || this.#keyless.has(name)) return
          await this.#indexBlock(log, block)
          while (this.#queue.length > 0) await this.#turn()
          if (++looked % SCAN_BLOCKS === 0) await sleep(SCAN_PAUSE_MS)
        }
      }
    }
  }

  /** A block that cannot be read or does not verify is left alone: it concerns whoever needs it. */
  async #indexBlock(log: Log, block: number): Promise<void> {
    try {
      const data = await log.read(block)
      if (data === null) return
      if (!isSegment(data)) return await this.#index.add(log.key, block, [0], NO_IDS)
      const key = this.#idKeyOf(log.key)
      if (key === null) return void this.#keyless.add(log.key.toString('hex'))
      const ids = openSegmentIds(data, log.key, block, key)
      faultPoint('found')
      await this.#index.add(log.key, block, [ids.byteLength / CHUNK_ID_BYTES], ids)
    } catch (err) {
      safetyCatch(err)
    }
  }
}

/** What is stored of a log, however many runs that is. */
async function* storedRuns(log: Log): AsyncGenerator<BlockRun> {
  for (let at = 0; ;) {
    const runs = await log.durableRuns(at, log.length, RUNS_MAX)
    yield* runs
    const last = runs.at(-1)
    if (last === undefined) return
    at = last.start + last.count
  }
}

function isSegment(block: Buffer): boolean {
  return block.byteLength > 8 && readBlockHeader(block).kind === KIND.SEGMENT
}
