/**
 * Gets segments of one version: sealed blocks from a reader, in few requests, opened and cached. A segment that is
 * on its way for one read is not asked for again by another.
 */
import { HyperparcelError } from '../base/errors.ts'
import { openSegment } from '../chunk/segment.ts'
import type { BlockReader } from '../parcel/block-reader.ts'
import { segmentName, type SegmentCache } from './segment-cache.ts'

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
  /** A stored block did not verify: somebody may want to get a good copy. */
  onCorrupt?: (logNumber: number, block: number) => void
}

export interface SegmentPlace {
  log: number
  block: number
}

interface Deferred {
  place: SegmentPlace
  resolve(segment: Buffer): void
  reject(error: unknown): void
}

export class SegmentLoader {
  readonly #options: SegmentLoaderOptions

  constructor(options: SegmentLoaderOptions) {
    this.#options = options
  }

  /** One promise for each place, in order. All that are not under way yet go out in one request a log. */
  load(places: SegmentPlace[]): Promise<Buffer>[] {
    const { cache } = this.#options
    const wanted = new Map<number, Deferred[]>()
    const segments = places.map((place) => {
      const name = segmentName(place.log, place.block)
      const cached = cache.get(name)
      if (cached !== undefined) return Promise.resolve(cached)
      const loading = cache.loading(name)
      if (loading !== undefined) return loading
      const segment = new Promise<Buffer>((resolve, reject) => {
        const deferred = { place, resolve, reject }
        const same = wanted.get(place.log)
        if (same === undefined) wanted.set(place.log, [deferred])
        else same.push(deferred)
      })
      cache.load(name, segment)
      return segment
    })
    for (const [log, deferred] of wanted) {
      for (let i = 0; i < deferred.length; i += REQUEST_BLOCKS_MAX) {
        const some = deferred.slice(i, i + REQUEST_BLOCKS_MAX)
        this.#request(log, some).catch((err: unknown) => {
          for (const { reject } of some) reject(err)
        })
      }
    }
    return segments
  }

  async #request(log: number, wanted: Deferred[]): Promise<void> {
    const { reader, logKey, dataKey } = this.#options
    const key = logKey(log)
    const data = dataKey(log)
    const blocks = await reader.read(
      log,
      wanted.map(({ place }) => place.block)
    )
    for (const [i, { place, resolve, reject }] of wanted.entries()) {
      if (i > 0 && i % OPEN_IN_A_ROW === 0) await new Promise((next) => setImmediate(next))
      try {
        resolve(openSegment(blocks[i], key, place.block, data))
      } catch (err) {
        reject(this.#corrupt(place, err))
      }
    }
  }

  #corrupt({ log, block }: SegmentPlace, cause: unknown): HyperparcelError {
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
