/** Gets what a version lacks here, for something that must have all of it. */
import safetyCatch from 'safety-catch'
import { withDeadline } from '../../base/deadline.ts'
import type { HyperparcelError } from '../../base/errors.ts'
import type { ProgressReporter } from '../../base/progress.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import type { ClosureOptions } from '../../parcel/closure.ts'
import type { FleetNode } from '../node.ts'
import { isHopeless, outOfReach, waitingForVersion } from './out-of-reach.ts'
import type { UseCaseContext } from '../use-cases/context.ts'
import type { OpenedVersion } from './versions.ts'

/** Nothing arrived for that long: give up. */
export const STALL_MS = 30_000
/** Nothing arrived for that long: ask whether anybody has it at all. */
export const DOUBT_MS = 2000
const LOOK_MS = 1000
/** A pack that does not come in that time is not waited for. */
const PACK_MS = 20_000
/** Somebody waits for these: what limits transfers in the background does not limit them. */
const AWAITED = new Set(['suspend', 'rollback', 'create'])

export interface CompleteContext {
  signal: AbortSignal
  progress: ProgressReporter
  /** What else the user should know when it does not come. */
  note?: string
  /** Resolves when more may be asked for, with the number of blocks. */
  pace?: () => Promise<number>
  /** For whom, in a word: `hoard`, `suspend` … */
  why?: string
}

/** Resolves when all of it is stored here. Rejects with `DATA_UNREACHABLE` when no device sends more of it. */
export async function completeVersion(
  node: FleetNode,
  info: VersionInfo,
  opts: ClosureOptions,
  { signal: given, progress, note, pace, why = 'command' }: CompleteContext
): Promise<void> {
  const parcel = node.registry.parcel(info.parcel)?.name ?? ''
  await node.transfers.during({ parcel, version: info.number, why }, async (transfer) => {
    const report: ProgressReporter = (event) => progress(transfer.report(event))
    const giveUp = () => outOfReach(node, info, note)
    const priority = AWAITED.has(why) ? 'working-set' : 'proactive'
    await whileComing(node, info, { signal: given, report, giveUp }, async (signal, alive) => {
      if (priority === 'proactive') await fetchPack(node, info, signal)
      await node.versions.complete(info, { priority, signal, pace }, opts, (event) => {
        alive()
        report(event)
      })
    })
  })
  node.pins.wake()
}

/** Opens a version's record, from wherever it is. Rejects with `DATA_UNREACHABLE` when no device sends it. */
export async function openVersion(
  node: FleetNode,
  info: VersionInfo,
  context: UseCaseContext
): Promise<OpenedVersion> {
  const { signal: given, progress: report } = context
  const giveUp = () => outOfReach(node, info)
  return whileComing(node, info, { signal: given, report, giveUp }, (signal) =>
    node.versions.open(info, { priority: 'demand', signal })
  )
}

/** Its resume pack goes first: of the whole version, a resume needs that most. Never rejects. */
async function fetchPack(node: FleetNode, info: VersionInfo, signal: AbortSignal): Promise<void> {
  if (node.registry.packs(info.version).length === 0) return
  try {
    const opened = await node.versions.open(info, { priority: 'proactive', signal })
    const pack = await node.packs.open(info, opened, signal)
    if (pack === null || pack.isLocal) return
    await withDeadline(PACK_MS, signal, (limit) =>
      node.packs.fetch(pack, pack.blocks, { priority: 'proactive', signal: limit })
    )
  } catch (err) {
    safetyCatch(err) // the version itself is what counts
  }
}

interface StallOptions {
  signal: AbortSignal
  report: ProgressReporter
  giveUp(): HyperparcelError
}

/**
 * Runs `work` with a signal that aborts, for the reason that `giveUp` makes, when it neither called `alive` nor any block
 * came for a while, and sooner where nobody has what it waits for. Says what it waits for.
 */
async function whileComing<T>(
  node: FleetNode,
  info: VersionInfo,
  { signal: parent, report, giveUp }: StallOptions,
  work: (signal: AbortSignal, alive: () => void) => Promise<T>
): Promise<T> {
  const stall = new AbortController()
  const received = () =>
    [...node.sources.counts().values()].reduce((sum, { bytesIn }) => sum + bytesIn, 0)
  let aliveAt = performance.now()
  let saidAt = aliveAt
  let bytes = received()
  let asking = false
  const look = async () => {
    const now = performance.now()
    if (received() > bytes) aliveAt = now
    bytes = received()
    if (now - saidAt >= LOOK_MS) report({ phase: waitingForVersion(node, info) })
    if (now - aliveAt >= STALL_MS) return stall.abort(giveUp())
    if (now - aliveAt < DOUBT_MS || asking) return
    asking = true
    const hopeless = await isHopeless(node, info)
    asking = false
    if (hopeless && performance.now() - aliveAt >= DOUBT_MS) stall.abort(giveUp())
  }
  const timer = setInterval(() => void look().catch(safetyCatch), LOOK_MS)
  const alive = () => (aliveAt = saidAt = performance.now())
  try {
    return await work(AbortSignal.any([stall.signal, parent]), alive)
  } finally {
    clearInterval(timer)
  }
}

/** Runs `work` with a signal that aborts, for the reason that `giveUp` makes, when it did not call `alive` for a while. */
export async function unlessStalled<T>(
  parent: AbortSignal,
  stallMs: number,
  giveUp: () => HyperparcelError,
  work: (signal: AbortSignal, alive: () => void) => Promise<T>
): Promise<T> {
  const stall = new AbortController()
  const start = () => setTimeout(() => stall.abort(giveUp()), stallMs)
  let timer = start()
  const alive = () => {
    clearTimeout(timer)
    timer = start()
  }
  try {
    return await work(AbortSignal.any([stall.signal, parent]), alive)
  } finally {
    clearTimeout(timer)
  }
}
