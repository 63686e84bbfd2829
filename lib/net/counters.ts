/** What went over the wire with one peer, over all its connections. */
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
  /** Blocks that came although they were here already. */
  blocksWasted: number
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
    blocksWasted: 0
  }
}
