/** How a device is reached: directly on a local network, or over Hyperswarm. */
export type LinkKind = 'lan' | 'wan'

/** What went over the wire with one peer, over all its connections of one kind, or of both. */
export interface PeerCounters {
  bytesIn: number
  bytesOut: number
  /** Verified blocks that came from it, and their bytes. */
  blocksIn: number
  blockBytesIn: number
  /** Those of them that somebody was waiting for when they came. */
  demandBytesIn: number
  blocksOut: number
  blockBytesOut: number
  /** Blocks that came although nobody waited for them any more. */
  blocksWasted: number
  /** Blocks asked of it because another was late. */
  hedges: number
  /** Of these, those that it sent first. */
  hedgesWon: number
}

export function createCounters(): PeerCounters {
  return {
    bytesIn: 0,
    bytesOut: 0,
    blocksIn: 0,
    blockBytesIn: 0,
    demandBytesIn: 0,
    blocksOut: 0,
    blockBytesOut: 0,
    blocksWasted: 0,
    hedges: 0,
    hedgesWon: 0
  }
}

export function addCounters(to: PeerCounters, more: PeerCounters): void {
  for (const name of Object.keys(to) as (keyof PeerCounters)[]) to[name] += more[name]
}
