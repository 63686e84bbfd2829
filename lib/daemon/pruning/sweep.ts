/**
 * Deletes blocks that no version needs any more, and gives their space back.
 *
 * Invariants
 * - A block goes only when no version that stays needs it, no commit under way may reference it (`CommitHost.needs`),
 *   and none learns of it from then on (`node.doomed`).
 * - Every step leaves a store that is right: a block is forgotten by the dedup index, then cleared, each by itself. Killed
 *   anywhere, kept versions are whole; what is still there of the others is deleted by the next sweep.
 */
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../../base/errors.ts'
import { faultPoint } from '../../base/fault-point.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import type { StoredSource } from '../../parcel/map-nodes.ts'
import type { Marker, RecordPlace } from '../../parcel/mark.ts'
import { BlockSet } from '../../base/block-set.ts'
import type { FleetNode } from '../node.ts'
import type { UseCaseContext } from '../use-cases/context.ts'

export type Work = Pick<UseCaseContext, 'signal' | 'progress'>

/** Blocks cleared in one transaction of the store at most. */
const RUN_BLOCKS_MAX = 16_384

/** Runs `work` while this device vouches for no version. Rejects with `EVICTING` when that is so already. */
export async function whileDropping<T>(node: FleetNode, work: () => Promise<T>): Promise<T> {
  refuseDropping(node)
  node.evicting = true
  try {
    return await work()
  } finally {
    node.evicting = false
    node.pins.wake()
  }
}

/** Likewise while segments are rewritten: nothing is dropped meanwhile, and this device goes on vouching. */
export async function whileRepacking<T>(node: FleetNode, work: () => Promise<T>): Promise<T> {
  refuseDropping(node)
  node.repacking = true
  try {
    return await work()
  } finally {
    node.repacking = false
    node.pins.wake()
  }
}

function refuseDropping(node: FleetNode): void {
  if (!node.evicting && !node.repacking) return
  throw new HyperparcelError('EVICTING', 'Data is being dropped for another command already', {
    hint: 'Try again when that is done.'
  })
}

/** Blocks as they are stored here, and keys of what is not data in them. */
export function storedSource(node: FleetNode): StoredSource {
  return {
    read: async (key, block) => (await node.store.peek(key))?.read(block) ?? null,
    metaKey: (key) => node.keysOf(key).meta
  }
}

/** A version, and the maps by which it stays readable: mostly one. */
export interface Placed {
  info: VersionInfo
  places: RecordPlace[]
}

/**
 * Marks what versions need, as far as it is known here. Rejects with `DATA_CORRUPT` where a map is bad: what it names
 * might be good.
 */
export async function mark(
  node: FleetNode,
  marker: Marker,
  versions: Placed[],
  { signal, progress }: Work
): Promise<void> {
  for (const [done, { info, places }] of versions.entries()) {
    signal.throwIfAborted()
    progress({ phase: 'looking for what is needed', done, total: versions.length, unit: 'items' })
    try {
      for (const place of places) await marker.version(place, () => signal.throwIfAborted())
    } catch (err) {
      // Of a log that was not announced yet: none of it can be here.
      if ((err as { code?: string }).code !== 'KEY_MISSING') throw damaged(node, info, err)
    }
  }
}

/** Maps that are damaged may name what is good, so nothing may be deleted. */
export function damaged(node: FleetNode, info: VersionInfo, err: unknown): unknown {
  const { code } = err as { code?: string }
  if (code !== 'DATA_CORRUPT' && code !== 'FORMAT_INVALID') return err
  return new HyperparcelError('DATA_CORRUPT', `Maps of ${nameOf(node, info)} are damaged here`, {
    cause: err,
    hint: 'Nothing was dropped. Repair them first: `hyperparcel verify --repair`.'
  })
}

function nameOf(node: FleetNode, { parcel, number }: VersionInfo): string {
  return `${node.registry.parcel(parcel)?.name ?? 'a parcel'}, version ${number}`
}

/** Everything that is stored here of these logs, durably. */
export async function storedIn(node: FleetNode, logs: Iterable<Buffer>): Promise<BlockSet> {
  const stored = new BlockSet()
  for (const key of logs) {
    const log = await node.store.peek(key)
    if (log === null) continue
    const bits = stored.of(key)
    for (const { start, count } of await log.durableRuns(0, log.length, Number.MAX_SAFE_INTEGER)) {
      bits.addRun(start, start + count)
    }
  }
  return stored
}

/** Spares what commits under way may reference. In one turn with setting `node.doomed`. */
export function spareCommits(node: FleetNode, drop: BlockSet): void {
  const commits = node.runners.list().map(({ host }) => host.commitNeeds())
  for (const needs of [...commits, node.packs.writing?.() ?? null]) {
    if (needs === null) continue
    drop.of(needs.log).removeFrom(needs.from)
    drop.removeAll(needs.found)
  }
}

/** As if they were as large as the blocks of their logs are on average. */
export async function sizeOf(node: FleetNode, blocks: BlockSet): Promise<number> {
  let bytes = 0
  for (const { log: key, start, end } of blocks.runs()) {
    const log = await node.store.open(key)
    if (log.length > 0) bytes += ((end - start) * (await log.totalBytes())) / log.length
  }
  return Math.round(bytes)
}

/** Deletes them. Stops between two runs when the signal aborts. */
export async function drop(node: FleetNode, blocks: BlockSet, work: Work): Promise<void> {
  const total = blocks.size
  let done = 0
  faultPoint('decided')
  for (const run of blocks.runs()) {
    const log = await node.store.open(run.log)
    for (let start = run.start; start < run.end; start += RUN_BLOCKS_MAX) {
      work.signal.throwIfAborted()
      const end = Math.min(run.end, start + RUN_BLOCKS_MAX)
      await node.index.forget(run.log, start, end)
      faultPoint('forgotten')
      await log.clear(start, end)
      faultPoint('cleared')
      done += end - start
      work.progress({ phase: 'dropping blocks', done, total, unit: 'items' })
    }
  }
  await node.store.flush()
  node.versions.forget()
  node.index.reload()
  node.lowSpace.forget()
  faultPoint('swept')
}

/**
 * Gives the space of deleted blocks back. May be stopped after any step, and goes on the next time. Resolves with the
 * bytes that are left because there was too little room to move what they lie among.
 */
export async function giveBack(node: FleetNode, { signal, progress }: Work): Promise<number> {
  let first = 0
  await node.ballast.spend()
  let left: number
  try {
    left = await node.store.compact({
      signal,
      onstep(bytes) {
        faultPoint('compacting')
        first = Math.max(first, bytes)
        progress({ phase: 'giving space back', done: first - bytes, total: first, unit: 'bytes' })
      }
    })
  } finally {
    await node.ballast.keep()
  }
  // Files that runners have open would keep their space.
  for (const { process } of node.runners.list()) process.call('refresh', null).catch(safetyCatch)
  return left
}
