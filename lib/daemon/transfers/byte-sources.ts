/**
 * Where bytes come from and go to, for everybody who shows it: one list, which each kind of source joins by `add`. Counts
 * only grow; rates are over the last seconds.
 */
import type { Clock } from '../../base/clock.ts'

const SAMPLE_MS = 1000
/** Samples that a rate is taken over. */
const SAMPLES_MAX = 6

/** `kind` is for the user: device, cache, stick, image … */
export interface SourceCount {
  name: string
  kind: string
  /** Blocks that came from it, since it is known: stored bytes. */
  bytesIn: number
  bytesOut: number
}

export interface SourceRate extends SourceCount {
  /** Bytes. */
  perSecondIn: number
  perSecondOut: number
}

export class ByteSources {
  readonly #clock: Clock
  readonly #providers: (() => SourceCount[])[] = []
  readonly #samples: { at: number; counts: Map<string, SourceCount> }[] = []
  #timer: NodeJS.Timeout | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Called often: it must be cheap. Of several counts with one name and kind the sum is shown. */
  add(provider: () => SourceCount[]): void {
    this.#providers.push(provider)
  }

  start(): void {
    this.#timer = setInterval(() => this.sample(), SAMPLE_MS).unref()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
  }

  sample(): void {
    this.#samples.push({ at: this.#clock.monotonic(), counts: this.counts() })
    if (this.#samples.length > SAMPLES_MAX) this.#samples.shift()
  }

  /** By name and kind. */
  counts(): Map<string, SourceCount> {
    const counts = new Map<string, SourceCount>()
    for (const count of this.#providers.flatMap((provider) => provider())) {
      const id = idOf(count)
      const known = counts.get(id)
      if (known === undefined) {
        counts.set(id, { ...count })
        continue
      }
      known.bytesIn += count.bytesIn
      known.bytesOut += count.bytesOut
    }
    return counts
  }

  list(): SourceRate[] {
    const now = this.#clock.monotonic()
    const oldest = this.#samples[0]
    return [...this.counts()].map(([id, count]) => {
      const before = oldest?.counts.get(id)
      const seconds = oldest === undefined ? 0 : (now - oldest.at) / 1000
      const rate = (bytes: number, earlier: number | undefined) =>
        seconds < 0.5 ? 0 : Math.max(0, Math.round((bytes - (earlier ?? 0)) / seconds))
      return {
        ...count,
        perSecondIn: rate(count.bytesIn, before?.bytesIn),
        perSecondOut: rate(count.bytesOut, before?.bytesOut)
      }
    })
  }

  /** What came from each since then, of those from whom anything did; the fastest first. */
  since(before: ReadonlyMap<string, SourceCount>): { source: SourceRate; bytes: number }[] {
    return this.list()
      .map((source) => ({
        source,
        bytes: source.bytesIn - (before.get(idOf(source))?.bytesIn ?? 0)
      }))
      .filter(({ bytes }) => bytes > 0)
      .sort((a, b) => b.source.perSecondIn - a.source.perSecondIn || b.bytes - a.bytes)
  }
}

function idOf({ name, kind }: SourceCount): string {
  return `${kind} ${name}`
}
