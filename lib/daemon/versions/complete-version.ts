/** Gets what a version lacks here, for something that must have all of it. */
import type { HyperparcelError } from '../../base/errors.ts'
import type { ProgressReporter } from '../../base/progress.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import type { ClosureOptions } from '../../parcel/closure.ts'
import type { FleetNode } from '../node.ts'
import { outOfReach, waitingForVersion } from './out-of-reach.ts'
import type { UseCaseContext } from '../use-cases/context.ts'
import type { OpenedVersion } from './versions.ts'

/** Nothing arrived for that long: give up. */
export const STALL_MS = 30_000
const REPORT_MS = 1000

export interface CompleteContext {
  signal: AbortSignal
  progress: ProgressReporter
  /** What else the user should know when it does not come. */
  note?: string
  /** Resolves when more may be asked for, with the number of blocks. */
  pace?: () => Promise<number>
}

/** Resolves when all of it is stored here. Rejects with `DATA_UNREACHABLE` when no device sends more of it. */
export async function completeVersion(
  node: FleetNode,
  info: VersionInfo,
  opts: ClosureOptions,
  { signal: given, progress: report, note, pace }: CompleteContext
): Promise<void> {
  await unlessStalled(
    given,
    STALL_MS,
    () => outOfReach(node, info, note),
    (signal, alive) =>
      node.versions.complete(info, { priority: 'proactive', signal, pace }, opts, (progress) => {
        alive()
        report(progress)
      })
  )
}

/** Opens a version's record, from wherever it is. Rejects with `DATA_UNREACHABLE` when no device sends it. */
export async function openVersion(
  node: FleetNode,
  info: VersionInfo,
  context: UseCaseContext
): Promise<OpenedVersion> {
  const say = () => context.progress({ phase: waitingForVersion(node, info) })
  const timer = setInterval(say, REPORT_MS)
  try {
    const giveUp = () => outOfReach(node, info)
    return await unlessStalled(context.signal, STALL_MS, giveUp, (signal) =>
      node.versions.open(info, { priority: 'demand', signal })
    )
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
