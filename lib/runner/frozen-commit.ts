/** The changed chunks of a frozen generation, leaf by leaf, into a commit. A few leaves are under way at a time. */
import { CHUNK_BYTES, MAP_LEAF_CHUNKS } from '../base/limits.ts'
import type { Commit, LeafChange, VolumeCommit } from '../parcel/commit.ts'

/** A generation of a volume that does not change any more (`lib/volume`). */
export interface FrozenChunks {
  readonly dirtyBytes: number
  /** Changed runs, ascending; `zero` ones were discarded. */
  runs(): Iterable<{ first: number; count: number; zero: boolean }>
  read(first: number, count: number, target: Buffer): void | Promise<void>
}

const LEAVES_IN_FLIGHT = 3

/** @param onbytes called with the bytes of each leaf that was stored */
export async function commitFrozen(
  commit: Commit,
  volume: VolumeCommit,
  frozen: FrozenChunks,
  onbytes: (bytes: number) => void
): Promise<void> {
  const inFlight = new Set<Promise<void>>()
  for (const leaf of leavesOf(frozen.runs())) {
    const work = storeLeaf(commit, volume, frozen, leaf).then(onbytes)
    inFlight.add(work)
    const settled = work.finally(() => inFlight.delete(work))
    settled.catch(() => {}) // seen by the race or by the wait for the rest
    if (inFlight.size >= LEAVES_IN_FLIGHT) await Promise.race(inFlight)
  }
  await Promise.all(inFlight)
}

interface Run {
  first: number
  count: number
  zero: boolean
}

/** Cuts ascending runs at leaf boundaries and gathers those of one leaf. */
function* leavesOf(runs: Iterable<Run>): Generator<{ index: number; runs: Run[] }> {
  let index = -1
  let gathered: Run[] = []
  for (let { first, count, zero } of runs) {
    while (count > 0) {
      const leaf = Math.floor(first / MAP_LEAF_CHUNKS)
      if (leaf !== index) {
        if (gathered.length > 0) yield { index, runs: gathered }
        index = leaf
        gathered = []
      }
      const part = Math.min(count, (leaf + 1) * MAP_LEAF_CHUNKS - first)
      gathered.push({ first, count: part, zero })
      first += part
      count -= part
    }
  }
  if (gathered.length > 0) yield { index, runs: gathered }
}

async function storeLeaf(
  commit: Commit,
  volume: VolumeCommit,
  frozen: FrozenChunks,
  leaf: { index: number; runs: Run[] }
): Promise<number> {
  const change: LeafChange = { index: leaf.index, places: [], data: EMPTY, zeros: [] }
  let chunks = 0
  for (const run of leaf.runs) if (!run.zero) chunks += run.count
  change.data = Buffer.allocUnsafeSlow(chunks * CHUNK_BYTES)
  let at = 0
  for (const run of leaf.runs) {
    const places = run.zero ? change.zeros : change.places
    const start = run.first % MAP_LEAF_CHUNKS
    for (let i = 0; i < run.count; i++) places.push(start + i)
    if (run.zero) continue
    const target = change.data.subarray(at, (at += run.count * CHUNK_BYTES))
    await frozen.read(run.first, run.count, target)
  }
  await commit.addLeaf(volume, change)
  return change.data.byteLength
}

const EMPTY = Buffer.alloc(0)
