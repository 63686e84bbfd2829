/**
 * What a cache keeps of one fleet, and what goes first. Decisions over plain data.
 */
import { BlockSet } from '../../base/block-set.ts'
import type { HeldRange } from './held.ts'

/** A version as some device listed it: what it needs besides the newer ones of its parcel. */
export interface Wish {
  /** Ids, hex. */
  version: string
  parcel: string
  /** When the version was made, milliseconds since the epoch. */
  time: number
  /** About the bytes of all of `blocks`. */
  bytes: number
  blocks: BlockSet
}

export interface CachePlan<W> {
  /** To be held, all of them, in the order in which they are fetched. */
  keep: W[]
  blocks: BlockSet
  /** By how much the newest versions of all parcels are larger than the quota; 0 when they fit. */
  bytesOver: number
}

/**
 * The newest version of every parcel, then the second newest, and so on, as long as they fit. Where one of a parcel does
 * not fit, its older ones are left out too: without the newer one they would not be whole.
 */
export function planCache<W extends Wish>(wishes: readonly W[], quotaBytes: number): CachePlan<W> {
  const plan: CachePlan<W> = { keep: [], blocks: new BlockSet(), bytesOver: 0 }
  const full = new Set<string>()
  let bytes = 0
  for (const { wish, rank } of byRank(wishes)) {
    const fresh = new BlockSet()
    fresh.addAll(wish.blocks)
    fresh.removeAll(plan.blocks)
    const share = wish.blocks.size === 0 ? 0 : fresh.size / wish.blocks.size
    const more = Math.round(wish.bytes * share)
    if (full.has(wish.parcel) || bytes + more > quotaBytes) {
      if (rank === 0) plan.bytesOver += more - Math.max(0, quotaBytes - bytes)
      full.add(wish.parcel)
      continue
    }
    bytes += more
    plan.keep.push(wish)
    plan.blocks.addAll(fresh)
  }
  return plan
}

/** In the order in which they matter. Two lists may have one version: it has one rank. */
function byRank<W extends Wish>(wishes: readonly W[]): { wish: W; rank: number }[] {
  const ranks = new Map<string, number>()
  const counts = new Map<string, number>()
  const newestFirst = wishes.toSorted((a, b) => b.time - a.time || (a.version < b.version ? -1 : 1))
  const ranked = newestFirst.map((wish) => {
    let rank = ranks.get(wish.version)
    if (rank === undefined) {
      rank = counts.get(wish.parcel) ?? 0
      counts.set(wish.parcel, rank + 1)
      ranks.set(wish.version, rank)
    }
    return { wish, rank }
  })
  return ranked.sort((a, b) => a.rank - b.rank)
}

/** Ranges in the order in which they go: what was not used for longest first, of that what no device lists any more. */
export function evictionOrder(
  ranges: readonly HeldRange[],
  isListed: (range: HeldRange) => boolean
): HeldRange[] {
  return ranges
    .map((range) => ({ range, listed: isListed(range) }))
    .sort((a, b) => a.range.usedMs - b.range.usedMs || Number(a.listed) - Number(b.listed))
    .map(({ range }) => range)
}
