/**
 * Gets segments of one version: sealed blocks from a reader, in few requests, opened and cached. A segment that is
 * on its way for one read is not asked for again by another.
 */
import { HyperparcelError } from '../base/errors.ts'
import { openSegment } from '../chunk/segment.ts'
import type { BlockReader } from '../parcel/block-reader.ts'
import { segmentName, type SegmentCache, type Waiter } from './segment-cache.ts'

/** Blocks in one request: 4 MiB. */
const REQUEST_BLOCKS_MAX = 64
/** Segments opened in a row before other work gets a turn: about a millisecond. */
const OPEN_IN_A_ROW = 8

export interface SegmentLoaderOptions {
  reader: BlockReader
  /** Key of a log by its number. */
  logKey(logNumber: number): Buffer
  /** The key that opens the data of its segments. */
  dataKey(logNumber: number): Buffer
  cache: SegmentCache
  /** Looked in before peers are waited for. */
  seeds?: SegmentSeeds
  /** A stored block did not verify: somebody may want to get a good copy. */
  onCorrupt?: (logNumber: number, block: number) => void
}

export interface SegmentPlace {
  log: number
  block: number
}

/** Finds the chunks of segments somewhere near, by their ids. */
export interface SegmentSeeds {
  /** Is there anything to look in, and is it worth it at the moment? */
  readonly active: boolean
  /**
   * Of a log's segments, none of which is stored here: calls `use` with the number in `blocks` and the verified chunks of
   * each that was found, valid during the call. Resolves in bounded time, and never rejects.
   */
  find(log: number, blocks: number[], use: UseSegment): Promise<void>
}

/** Gets the index of a place and the chunks there, which are valid during the call. */
export type UseSegment = (index: number, segment: Buffer) => void

export class SegmentLoader {
  readonly #options: SegmentLoaderOptions

  constructor(options: SegmentLoaderOptions) {
    this.#options = options
  }

  /**
   * Calls `use` for each place as soon as its segment is here, in any order. All that are not under way yet go out in
   * one request a log. Ends when all have ended; rejects with the first error then. Calls `onmissing` when peers have
   * to be waited for.
   */
  load(places: SegmentPlace[], use: UseSegment, onmissing?: () => void): Promise<void> {
    const { cache } = this.#options
    return new Promise((resolve, reject) => {
      const batch = new Batch(places.length, use, (error) =>
        error === null ? resolve() : reject(error)
      )
      const wanted = new Map<number, number[]>()
      for (const [i, { log, block }] of places.entries()) {
        const name = segmentName(log, block)
        const cached = cache.get(name)
        if (cached !== undefined) batch.arrived(i, cached)
        else if (cache.wait(name, batch, i)) {
          const same = wanted.get(log)
          if (same === undefined) wanted.set(log, [block])
          else same.push(block)
        }
      }
      for (const [log, blocks] of wanted) {
        for (let i = 0; i < blocks.length; i += REQUEST_BLOCKS_MAX) {
          const some = blocks.slice(i, i + REQUEST_BLOCKS_MAX)
          void this.#get(log, some, onmissing) // it does not reject
        }
      }
    })
  }

  async #get(log: number, blocks: number[], onmissing?: () => void): Promise<void> {
    const left = await this.#fromSeeds(log, blocks)
    if (left.length > 0) await this.#request(log, left, onmissing)
  }

  /** Which of them still have to be read. What is stored here is left to the reader. */
  async #fromSeeds(log: number, blocks: number[]): Promise<number[]> {
    const { cache, reader, seeds } = this.#options
    if (seeds?.active !== true || reader.stored === undefined) return blocks
    const stored = await reader.stored(log, blocks).catch(() => null)
    if (stored === null) return blocks
    const missing = blocks.filter((_, i) => !stored[i])
    if (missing.length === 0) return blocks
    const found = new Set<number>()
    await seeds.find(log, missing, (i, chunks) => {
      found.add(missing[i])
      cache.arrive(segmentName(log, missing[i]), (slot) => {
        chunks.copy(slot)
        return slot.subarray(0, chunks.byteLength)
      })
    })
    return blocks.filter((block) => !found.has(block))
  }

  async #request(log: number, blocks: number[], onmissing?: () => void): Promise<void> {
    const { cache, reader, logKey, dataKey } = this.#options
    let arrived = 0
    try {
      const key = logKey(log)
      const data = dataKey(log)
      const sealed = await reader.read(log, blocks, onmissing)
      for (; arrived < blocks.length; arrived++) {
        if (arrived > 0 && arrived % OPEN_IN_A_ROW === 0) await new Promise(setImmediate)
        const block = blocks[arrived]
        cache.arrive(segmentName(log, block), (slot) => {
          try {
            return openSegment(sealed[arrived], key, block, data, slot)
          } catch (err) {
            throw this.#corrupt(log, block, err)
          }
        })
      }
    } catch (err) {
      for (; arrived < blocks.length; arrived++) cache.fail(segmentName(log, blocks[arrived]), err)
    }
  }

  #corrupt(log: number, block: number, cause: unknown): HyperparcelError {
    const error = HyperparcelError.from(cause)
    if (error.code === 'FORMAT_TOO_NEW') return error
    this.#options.onCorrupt?.(log, block)
    return new HyperparcelError('DATA_CORRUPT', 'A stored segment did not verify', {
      hint: 'Run `hyperparcel verify --repair` to fetch a good copy.',
      cause,
      context: { log: this.#options.logKey(log).toString('hex'), block }
    })
  }
}

/** The segments of one call of `load`. */
class Batch implements Waiter {
  #left: number
  readonly #use: UseSegment
  readonly #end: (error: unknown) => void
  #error: unknown = null

  constructor(count: number, use: UseSegment, end: (error: unknown) => void) {
    this.#left = count
    this.#use = use
    this.#end = end
    if (count === 0) end(null)
  }

  arrived(index: number, segment: Buffer): void {
    try {
      this.#use(index, segment)
    } catch (err) {
      this.#error ??= err
    }
    this.#ended()
  }

  failed(_index: number, error: unknown): void {
    this.#error ??= error
    this.#ended()
  }

  #ended(): void {
    if (--this.#left === 0) this.#end(this.#error)
  }
}
