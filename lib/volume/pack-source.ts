/**
 * The chunks of a resume pack, as they arrive: segments come in order by themselves (`start`), and sooner when somebody
 * waits for one. A segment is checked when it is opened, chunk by chunk against its ids.
 *
 * Invariants
 * - A pack is a hint. What of it does not verify ends all of it (`onbad`), and whoever waited reads through the maps; so
 *   does who waited for long, because its only source may be gone.
 * - Memory is bounded: a pack holds at most 32 MiB, and a segment is let go when all of its chunks were used.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../base/errors.ts'
import {
  CHUNK_BYTES,
  CHUNK_ID_BYTES,
  SEGMENT_CHUNKS_MAX,
  SEGMENT_DATA_BYTES
} from '../base/limits.ts'
import { writeChunkId } from '../chunk/ids.ts'
import { openSegment, openSegmentIds, type LogKeys } from '../chunk/segment.ts'
import { KIND } from '../format/sealed.ts'
import { answerSegments, type PackIndex } from '../parcel/pack-index.ts'

/** Segments asked for ahead at once. */
const AHEAD = 16
/** Then a reader goes another way, too. */
const PATIENCE_MS = 5000
const HOLD_MS_MAX = 30_000
const HOLD_IDLE_MS = 3000
const HOLD_POLL_MS = 10

export interface PackSourceOptions {
  index: PackIndex
  log: Buffer
  /** Block of its head. */
  block: number
  keys: LogKeys
  dedupKey: Buffer
  /** A sealed block, fetched where it is missing; waits without limit. `urgent`: somebody waits for it. */
  read(block: number, urgent: boolean): Promise<Buffer>
  /** It is not what it says. Called once. */
  onbad(err: HyperparcelError): void
  patienceMs?: number
}

interface Arrived {
  data: Buffer
  /** Chunks of it that nobody used yet, a bit each. */
  unused: number
}

export class PackSource {
  readonly index: PackIndex
  /** Sealed bytes of the segments up to an answer, as far as they have come. */
  answerBytes = 0
  readonly #opts: PackSourceOptions
  readonly #here: (Arrived | null)[]
  /** Segments that have come, in memory or used up. */
  readonly #arrived = new Set<number>()
  readonly #coming = new Map<number, Promise<boolean>>()
  /** Segments that somebody waits for. */
  readonly #urgent = new Set<number>()
  #next = 0
  #ended = false
  #started = false
  readonly #done: Promise<void>
  #resolveDone!: () => void

  constructor(opts: PackSourceOptions) {
    this.#opts = opts
    this.index = opts.index
    this.#here = Array.from({ length: opts.index.segments }, () => null)
    this.#done = new Promise((resolve) => (this.#resolveDone = resolve))
  }

  /** Bad, or of no use any more: nothing is read from it. */
  get ended(): boolean {
    return this.#ended
  }

  /** Resolves when all of it has come, or none comes any more. */
  get done(): Promise<void> {
    return this.#done
  }

  /** From now on it comes in order. */
  start(): void {
    if (this.#started) return
    this.#started = true
    if (this.index.segments === 0) this.#resolveDone()
    for (let i = 0; i < Math.min(AHEAD, this.index.segments); i++) void this.#pump() // never rejects
  }

  get arrived(): number {
    return this.#arrived.size
  }

  /**
   * Resolves when the part up to an answer has come: CPUs that ran before would wait for page after page, and the guest's
   * timers would call for more meanwhile. Does not wait for what does not come: nothing for `HOLD_IDLE_MS`, nor
   * longer than `HOLD_MS_MAX`.
   */
  async answerable(signal: AbortSignal): Promise<void> {
    const wanted = answerSegments(this.index.head)
    const end = performance.now() + HOLD_MS_MAX
    let arrived = -1
    let idleAt = 0
    for (let next = 0; !this.#ended && !signal.aborted; await sleep(HOLD_POLL_MS)) {
      while (this.#arrived.has(next)) next++
      const now = performance.now()
      if (next >= wanted || now > end) return
      if (this.#arrived.size > arrived) {
        arrived = this.#arrived.size
        idleAt = now + HOLD_IDLE_MS
      } else if (now > idleAt) return
    }
  }

  end(): void {
    this.#ended = true
    this.#here.fill(null)
    this.#resolveDone()
  }

  /** Copies the chunk at that place of the pack into the target, if it is here. */
  copy(place: number, target: Buffer, to: number): boolean {
    const here = this.#here[Math.floor(place / SEGMENT_CHUNKS_MAX)]
    if (here === null || this.#ended) return false
    const slot = place % SEGMENT_CHUNKS_MAX
    here.data.copy(target, to, slot * CHUNK_BYTES, (slot + 1) * CHUNK_BYTES)
    here.unused &= ~(1 << slot)
    if (here.unused === 0) this.#here[Math.floor(place / SEGMENT_CHUNKS_MAX)] = null
    return true
  }

  /** Resolves with true when the segment of that place is here; false: read it another way. */
  async wait(place: number): Promise<boolean> {
    if (this.#ended) return false
    const arriving = this.#load(Math.floor(place / SEGMENT_CHUNKS_MAX), true)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, this.#opts.patienceMs ?? PATIENCE_MS, false)
    })
    const here = await Promise.race([arriving, late])
    clearTimeout(timer)
    return here && !this.#ended
  }

  async #pump(): Promise<void> {
    while (!this.#ended && this.#next < this.index.segments) {
      const segment = this.#next++
      if (!this.#arrived.has(segment)) await this.#load(segment, false)
    }
    if (this.#arrived.size >= this.index.segments) this.#resolveDone()
  }

  /** False when it cannot be had. Never rejects. */
  #load(segment: number, urgent: boolean): Promise<boolean> {
    if (this.#here[segment] !== null) return Promise.resolve(true)
    const coming = this.#coming.get(segment)
    if (coming !== undefined) {
      if (urgent) this.#raise(segment)
      return coming
    }
    if (urgent) this.#urgent.add(segment)
    const loading = this.#fetch(segment, urgent).finally(() => {
      this.#coming.delete(segment)
      this.#urgent.delete(segment)
    })
    this.#coming.set(segment, loading)
    return loading
  }

  /** Whoever asks for it again says that it is urgent now. */
  #raise(segment: number): void {
    if (this.#urgent.has(segment)) return
    this.#urgent.add(segment)
    this.#opts.read(this.#blockOf(segment), true).catch(safetyCatch)
  }

  async #fetch(segment: number, urgent: boolean): Promise<boolean> {
    let sealed: Buffer
    try {
      sealed = await this.#opts.read(this.#blockOf(segment), urgent)
    } catch (err) {
      safetyCatch(err)
      this.end() // the session ends, or the block is known to be bad
      return false
    }
    if (this.#ended) return false
    try {
      this.#here[segment] = this.#open(segment, sealed)
    } catch (err) {
      this.end()
      this.#opts.onbad(HyperparcelError.from(err))
      return false
    }
    this.#arrived.add(segment)
    if (segment < answerSegments(this.index.head)) this.answerBytes += sealed.byteLength
    return true
  }

  #blockOf(segment: number): number {
    return this.#opts.block + 1 + segment
  }

  #open(segment: number, sealed: Buffer): Arrived {
    const { log, keys, dedupKey } = this.#opts
    const block = this.#blockOf(segment)
    const chunks = this.index.chunksIn(segment)
    const target = Buffer.allocUnsafeSlow(SEGMENT_DATA_BYTES)
    const ids = openSegmentIds(sealed, log, block, keys.id, KIND.PACK)
    const data = openSegment(sealed, log, block, keys.data, target, KIND.PACK)
    const id = Buffer.allocUnsafe(CHUNK_ID_BYTES)
    let right = data.byteLength === chunks * CHUNK_BYTES
    for (let i = 0; right && i < chunks; i++) {
      writeChunkId(id, 0, data, i * CHUNK_BYTES, dedupKey)
      right = id.equals(ids.subarray(i * CHUNK_ID_BYTES, (i + 1) * CHUNK_ID_BYTES))
    }
    if (right) return { data, unused: 2 ** chunks - 1 }
    throw new HyperparcelError('DATA_CORRUPT', 'A segment of a resume pack is not what it says')
  }
}
