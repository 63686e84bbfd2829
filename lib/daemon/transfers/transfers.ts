/**
 * Versions that are being fetched here, whoever wants them: how far, how fast, from whom. What two transfers at a time
 * get from one source counts for both: sources are counted, not requests.
 */
import type { Clock } from '../../base/clock.ts'
import type { ByteShare, Progress } from '../../base/progress.ts'
import type { ByteSources, SourceCount } from './byte-sources.ts'

const RATE_MS = 10_000

/** For the user: `hoard`, `resume`, `follow`, `granted` … */
export interface TransferState {
  parcel: string
  version: number
  why: string
  bytesDone: number
  bytesTotal: number
  /** Of `bytesDone`; null before there is something to say. */
  perSecond: number | null
  etaMs: number | null
  sources: ByteShare[]
}

export class Transfer {
  readonly parcel: string
  readonly version: number
  readonly why: string
  readonly #sources: ByteSources
  readonly #clock: Clock
  readonly #before: ReadonlyMap<string, SourceCount>
  readonly #done: { at: number; bytes: number }[] = []
  #total = 0

  constructor(
    of: { parcel: string; version: number; why: string },
    sources: ByteSources,
    clock: Clock
  ) {
    this.parcel = of.parcel
    this.version = of.version
    this.why = of.why
    this.#sources = sources
    this.#clock = clock
    this.#before = sources.counts()
  }

  /** Notes how far it is, and tells it on, with the sources. */
  report(progress: Progress): Progress {
    if (progress.unit === 'bytes' && progress.done !== undefined) {
      this.#total = progress.total ?? 0
      const at = this.#clock.monotonic()
      this.#done.push({ at, bytes: progress.done })
      while (this.#done.length > 2 && at - this.#done[0].at > RATE_MS) this.#done.shift()
    }
    return { ...progress, sources: this.shares() }
  }

  shares(): ByteShare[] {
    return this.#sources.since(this.#before).map(({ source, bytes }) => ({
      name: source.name,
      kind: source.kind,
      bytes,
      per_second: source.perSecondIn
    }))
  }

  get state(): TransferState {
    const { parcel, version, why } = this
    const [first, last] = [this.#done[0], this.#done.at(-1)]
    const bytesDone = last?.bytes ?? 0
    const seconds = first === undefined ? 0 : (last!.at - first.at) / 1000
    const perSecond = seconds < 0.3 ? null : (bytesDone - first.bytes) / seconds
    const left = Math.max(0, this.#total - bytesDone)
    return {
      parcel,
      version,
      why,
      bytesDone,
      bytesTotal: this.#total,
      perSecond: perSecond === null ? null : Math.round(perSecond),
      etaMs: perSecond === null || perSecond <= 0 ? null : Math.round((left / perSecond) * 1000),
      sources: this.shares()
    }
  }
}

export class Transfers {
  readonly #sources: ByteSources
  readonly #clock: Clock
  readonly #running = new Set<Transfer>()

  constructor(sources: ByteSources, clock: Clock) {
    this.#sources = sources
    this.#clock = clock
  }

  list(): TransferState[] {
    return [...this.#running].map(({ state }) => state)
  }

  /** Of what came from where from now on; not in the list. */
  watch(of: { parcel: string; version: number; why: string }): Transfer {
    return new Transfer(of, this.#sources, this.#clock)
  }

  /** In the list until `work` is done. */
  async during<T>(
    of: { parcel: string; version: number; why: string },
    work: (transfer: Transfer) => Promise<T>
  ): Promise<T> {
    const transfer = this.watch(of)
    this.#running.add(transfer)
    try {
      return await work(transfer)
    } finally {
      this.#running.delete(transfer)
    }
  }
}
