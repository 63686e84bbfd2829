/**
 * The changed chunks of a frozen generation, leaf by leaf, into a commit. A few leaves are under way at a time; when
 * one fails, the others have ended before the failure is passed on, so that nobody reads the generation after it.
 */
import { CHUNK_BYTES, MAP_LEAF_CHUNKS } from '../base/limits.ts'
import type { Commit, LeafChange, VolumeCommit } from '../parcel/commit.ts'

/** A generation of a volume that does not change any more (`lib/volume`). */
export interface FrozenChunks {
  readonly dirtyBytes: number
  /** Changed runs, ascending; `zero` ones were discarded. */
  runs(): Iterable<{ first: number; count: number; zero: boolean }>
  read(first: number, count: number, target: Buffer): void | Promise<void>
}

/** Reads of one leaf under way at once. */
const READS_IN_FLIGHT = 64
/** Leaves with more than this share their buffers. */
const SMALL_BYTES = 256 * 1024

interface Run {
  first: number
  count: number
  zero: boolean
}

/** @param onbytes called with the bytes of each leaf that was stored; when it throws, the commit fails */
export async function commitFrozen(
  commit: Commit,
  volume: VolumeCommit,
  frozen: FrozenChunks,
  onbytes: (bytes: number) => void
): Promise<void> {
  const buffers: Buffer[] = []
  const leaves = leavesOf(frozen.runs())[Symbol.iterator]()
  let failed = false
  const worker = async () => {
    for (let next = leaves.next(); !failed && next.done !== true; next = leaves.next()) {
      onbytes(await storeLeaf(commit, volume, frozen, next.value, buffers))
    }
  }
  const workers = Array.from({ length: commit.lanes + 2 }, () =>
    worker().catch((err: unknown) => {
      failed = true
      throw err
    })
  )
  const ended = await Promise.allSettled(workers)
  for (const end of ended) if (end.status === 'rejected') throw end.reason
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
  leaf: { index: number; runs: Run[] },
  buffers: Buffer[]
): Promise<number> {
  let chunks = 0
  for (const run of leaf.runs) if (!run.zero) chunks += run.count
  const bytes = chunks * CHUNK_BYTES
  const shared = bytes > SMALL_BYTES
  const buffer = shared
    ? (buffers.pop() ?? Buffer.allocUnsafeSlow(MAP_LEAF_CHUNKS * CHUNK_BYTES))
    : Buffer.allocUnsafeSlow(bytes)
  const data = buffer.subarray(0, bytes)
  const back = await commit.addLeaf(volume, await readLeaf(frozen, leaf, data))
  if (shared) buffers.push(Buffer.from(back.buffer))
  return bytes
}

async function readLeaf(
  frozen: FrozenChunks,
  leaf: { index: number; runs: Run[] },
  data: Buffer
): Promise<LeafChange> {
  const change: LeafChange = { index: leaf.index, places: [], data, zeros: [] }
  const reads: Promise<void>[] = []
  let at = 0
  for (const { first, count, zero } of leaf.runs) {
    const places = zero ? change.zeros : change.places
    const start = first % MAP_LEAF_CHUNKS
    for (let i = 0; i < count; i++) places.push(start + i)
    if (zero) continue
    const read = frozen.read(first, count, data.subarray(at, (at += count * CHUNK_BYTES)))
    if (read !== undefined) reads.push(read)
    if (reads.length >= READS_IN_FLIGHT) await settled(reads.splice(0))
  }
  await settled(reads)
  return change
}

/** All of them have ended; rejects with the first failure. */
async function settled(reads: Promise<void>[]): Promise<void> {
  for (const end of await Promise.allSettled(reads)) {
    if (end.status === 'rejected') throw end.reason
  }
}
