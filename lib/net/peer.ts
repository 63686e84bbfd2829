/** A fleet device with one or more links to it: they all stay in use, the fetcher and calls choose among them. */
import { addCounters, createCounters, type LinkKind, type PeerCounters } from './counters.ts'
import type { PeerCalls } from './calls.ts'
import type { Link } from './link.ts'

export interface LinkStatus {
  kind: LinkKind
  /** Null before anything was measured. */
  rttMs: number | null
}

export interface PeerStatus extends PeerCounters {
  publicKey: Buffer
  /** Of the best link; null before anything was measured. */
  rttMs: number | null
  /** Of the first link, milliseconds since the epoch. */
  connectedAt: number
  /** What blocks came at of late over the best link, bytes per second; null before anything was measured. */
  rateDown: number | null
  /** Its round trip without queues, milliseconds; likewise. */
  baseRttMs: number | null
  /** The best link's. */
  kind: LinkKind
  links: LinkStatus[]
  byKind: Record<LinkKind, PeerCounters>
}

export type KindCounters = Record<LinkKind, PeerCounters>

export function createKindCounters(): KindCounters {
  return { lan: createCounters(), wan: createCounters() }
}

export class Peer {
  readonly key: Buffer
  readonly connectedAt: number
  readonly counters: KindCounters
  /** In the order in which they were made. */
  readonly links: Link[] = []

  constructor(key: Buffer, connectedAt: number, counters: KindCounters) {
    this.key = key
    this.connectedAt = connectedAt
    this.counters = counters
  }

  /** Over the link with the shortest round trip; null until the far side takes calls. */
  get calls(): PeerCalls | null {
    return best(this.links.filter((link) => link.calls !== null))?.calls ?? null
  }

  get status(): PeerStatus {
    const total = createCounters()
    for (const link of this.links) link.countBytes()
    for (const counters of Object.values(this.counters)) addCounters(total, counters)
    const links = this.links.map(({ kind, rttMs }) => ({ kind, rttMs }))
    const link = best(this.links)
    return {
      publicKey: this.key,
      rttMs: link?.rttMs ?? null,
      connectedAt: this.connectedAt,
      rateDown: link?.source?.measured?.rateDown ?? null,
      baseRttMs: link?.source?.measured?.baseRttMs ?? null,
      kind: link?.kind ?? 'wan',
      links,
      byKind: this.counters,
      ...total
    }
  }

  /** What may have changed for this peer changes on all links. */
  refresh(): void {
    for (const { server } of this.links) server?.refresh()
  }

  has(kind: LinkKind): boolean {
    return this.links.some((link) => link.kind === kind)
  }
}

/**
 * Of two calls that crossed, the one by the device with the smaller key stays. Here: the links of this peer that
 * this device made and shall end when nobody needs them; none where that is the other side's business.
 */
export function surplusLinks(links: readonly Link[], ownKey: Buffer): Link[] {
  const lan = links.filter((link) => link.kind === 'lan')
  const own = lan.filter((link) => link.connection.isInitiator)
  const others = lan.length > own.length
  return others && own.length > 0 && Buffer.compare(ownKey, own[0].key) > 0 ? own : []
}

function best<L extends { rttMs: number | null }>(links: readonly L[]): L | undefined {
  return links.toSorted((a, b) => (a.rttMs ?? Infinity) - (b.rttMs ?? Infinity))[0]
}
