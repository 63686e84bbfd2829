/**
 * prune: forgets old versions of a parcel on this device, and everything that no version needs.
 *
 * Mark: all blocks that the versions to keep need, of all parcels, since blocks are shared between them (clones,
 * rollbacks, equal chunks). Sweep: everything else in the logs of the parcel, and in those of removed parcels; with it
 * go blocks of commits that never became a version. Records stay, they are small and tell what there was.
 *
 * It is this device's own business: no version changes, nobody is told. Who has fewer versions than others can fetch
 * them again, as long as anybody has them.
 */
import { HyperparcelError } from '../../base/errors.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import type { BlockSet } from '../../base/block-set.ts'
import type { Params, Result } from '../api.ts'
import { KeptPlaces } from '../pruning/kept-places.ts'
import type { FleetNode } from '../node.ts'
import { idOf, keptNow, lift, planPrune, type KeepFacts } from '../pruning/prune-plan.ts'
import { repack, roomFor } from '../pruning/repack.ts'
import { planRepack } from '../pruning/repack-plan.ts'
import {
  drop,
  giveBack,
  storedIn,
  whileDropping,
  whileRepacking,
  type Work
} from '../pruning/sweep.ts'
import type { UseCaseContext } from './context.ts'
import { diskUsage } from './status.ts'

/** Versions that peers are asked about at once. */
const ASKED_AT_ONCE = 8

export async function prune(
  node: FleetNode,
  params: Params<'prune'>,
  context: UseCaseContext
): Promise<Result<'prune'>> {
  const parcel = node.parcel(params.name)
  if (!(params.keep >= 1)) {
    throw new HyperparcelError('USAGE', 'At least the newest version stays', {
      hint: `\`hyperparcel remove ${parcel.name}\` removes all of it.`
    })
  }
  await node.runners.refreshStatus()
  if (params.dryRun === true) {
    const { result, facts } = await decide(node, parcel, params.keep, context, false)
    const rewriting = await planRepack(node, parcel, facts, context)
    return {
      ...result,
      ...NOTHING_REWRITTEN,
      bytes_expected: result.bytes_expected + Math.round(rewriting?.deadBytes ?? 0),
      segments_mostly_dead: rewriting?.segments.length ?? 0,
      bytes_freed: 0,
      bytes_pending: 0
    }
  }
  const before = await usage(node)
  const { result, facts } = await whileDropping(node, async () => {
    const decided = await decide(node, parcel, params.keep, context, true)
    try {
      await drop(node, decided.plan.blocks, context)
    } finally {
      lift(node)
    }
    return decided
  })
  const rewritten = await rewrite(node, parcel, facts, context)
  const pending = await giveBack(node, context)
  const freed = Math.max(0, before - (await usage(node)))
  return {
    ...result,
    ...rewritten,
    blocks_dropped: result.blocks_dropped + rewritten.blocks_dropped,
    bytes_expected: result.bytes_expected + rewritten.bytes_expected,
    bytes_freed: freed,
    bytes_pending: pending
  }
}

type Rewritten = Pick<
  Result<'prune'>,
  | 'blocks_dropped'
  | 'bytes_expected'
  | 'segments_mostly_dead'
  | 'segments_rewritten'
  | 'maps_reissued'
  | 'bytes_rewritten'
>

const NOTHING_REWRITTEN = {
  segments_mostly_dead: 0,
  segments_rewritten: 0,
  maps_reissued: 0,
  bytes_rewritten: 0
}

/** What is needed of segments that are mostly dead goes elsewhere, and they are dropped. */
async function rewrite(
  node: FleetNode,
  parcel: ParcelInfo,
  facts: KeepFacts,
  context: UseCaseContext
): Promise<Rewritten> {
  const nothing = { ...NOTHING_REWRITTEN, blocks_dropped: 0, bytes_expected: 0 }
  const found = await whileRepacking(node, async () => {
    const plan = await planRepack(node, parcel, facts, context)
    if (plan === null) return null
    if (!(await roomFor(node, plan))) return { plan, made: null }
    return { plan, made: await repack(node, parcel, plan, context) }
  })
  if (found === null) return nothing
  const { plan, made } = found
  const dead = { ...nothing, segments_mostly_dead: plan.segments.length }
  if (made === null || made.maps === 0) return dead
  const dropped = await whileDropping(node, async () => {
    const { blocks } = await planPrune(node, parcel, { ...facts, doom: true }, context)
    try {
      await drop(node, blocks, context)
    } finally {
      lift(node)
    }
    return blocks.size
  })
  return {
    ...dead,
    blocks_dropped: dropped,
    bytes_expected: Math.round(plan.deadBytes),
    segments_rewritten: made.segments,
    maps_reissued: made.maps,
    bytes_rewritten: made.bytesStored
  }
}

/** Gives back what removed parcels have here and nobody else needs. Resolves with the bytes. */
export async function sweepRemoved(node: FleetNode, work: Work): Promise<number> {
  const before = await usage(node)
  const dropped = await whileDropping(node, async () => {
    const facts = { keep: 1, newestWhole: null, doom: true }
    const { blocks } = await planPrune(node, null, facts, work)
    try {
      await drop(node, blocks, work)
    } finally {
      lift(node)
    }
    return blocks.size
  })
  if (dropped > 0) await giveBack(node, work)
  return Math.max(0, before - (await usage(node)))
}

/** @param doom from then on nobody may use what goes: `lift` ends that */
async function decide(
  node: FleetNode,
  parcel: ParcelInfo,
  keep: number,
  context: UseCaseContext,
  doom: boolean
) {
  const here = await storedIn(
    node,
    node.registry.parcelLogs().map(({ log }) => log)
  )
  const whole = await wholeVersions(node, parcel, context)
  const newest = node.registry.versions(parcel.id).findLast((info) => whole.has(idOf(info)))
  const first = { keep, newestWhole: newest === undefined ? null : idOf(newest) }
  const others = await askOthers(node, leftOut(node, parcel, first, here), context)
  const facts: KeepFacts = { ...first, alsoInUse: others.alsoInUse }
  const plan = await planPrune(node, parcel, { ...facts, doom }, context)
  const isOnly = (info: VersionInfo) => whole.has(idOf(info)) && !others.held.has(idOf(info))
  // One that was dropped before may lose more of what it shares with others; one may stay whole by what others keep.
  const goes = plan.drop.filter((info) => whole.has(idOf(info)))
  const kept = new Set([...plan.keep, ...plan.drop].map(idOf))
  const spared = node.registry
    .versions(parcel.id)
    .filter((info) => whole.has(idOf(info)) && !kept.has(idOf(info)))
  const stays = [...plan.keep, ...spared].sort((a, b) => a.number - b.number)
  const result = {
    parcel: parcel.name,
    kept: numbers(stays),
    dropped: numbers(goes),
    only_copies: numbers(goes.filter(isOnly)),
    blocks_dropped: plan.blocks.size,
    bytes_expected: plan.bytes
  }
  return { plan, facts, result }
}

/** Ids (hex) of those of which all is stored here, durably. */
async function wholeVersions(
  node: FleetNode,
  parcel: ParcelInfo,
  work: Work
): Promise<Set<string>> {
  const ways = new KeptPlaces(node)
  const whole = new Set<string>()
  for (const info of node.registry.versions(parcel.id)) {
    work.signal.throwIfAborted()
    // A damaged one, or one of a log that is not known yet, is not whole.
    const places = await node.versions.places(info).catch(unlessOurs)
    const found = places === null ? null : await ways.whole(places).catch(unlessOurs)
    if (found !== null) whole.add(idOf(info))
  }
  return whole
}

/** Versions that would go, with their records here. */
function leftOut(
  node: FleetNode,
  parcel: ParcelInfo,
  facts: KeepFacts,
  here: BlockSet
): VersionInfo[] {
  const kept = keptNow(node, parcel, facts)
  return node.registry
    .versions(parcel.id)
    .filter((info) => !kept.has(idOf(info)) && here.has(info.log, info.block))
}

/** What connected devices say of versions. */
async function askOthers(
  node: FleetNode,
  versions: VersionInfo[],
  { signal, progress }: Work
): Promise<{ alsoInUse: string[]; held: Set<string> }> {
  const alsoInUse: string[] = []
  const held = new Set<string>()
  for (let at = 0; at < versions.length; at += ASKED_AT_ONCE) {
    signal.throwIfAborted()
    progress({ phase: 'asking who else has them', done: at, total: versions.length, unit: 'items' })
    const asked = versions.slice(at, at + ASKED_AT_ONCE).map(async (info) => {
      const { awaited } = await node.replicas.ask(info)
      // A cache lets go of what no device lists.
      if (node.replicas.holders(info).some((key) => !node.isCache(key))) held.add(idOf(info))
      if (awaited) alsoInUse.push(idOf(info))
    })
    await Promise.all(asked)
  }
  return { alsoInUse, held }
}

function numbers(versions: VersionInfo[]): number[] {
  return versions.map(({ number }) => number)
}

function unlessOurs(err: unknown): null {
  const { code } = err as { code?: string }
  if (['DATA_CORRUPT', 'FORMAT_INVALID', 'KEY_MISSING'].includes(code ?? '')) return null
  throw err
}

async function usage(node: FleetNode): Promise<number> {
  return (await diskUsage(node.paths.store)) + (await diskUsage(node.paths.index))
}
