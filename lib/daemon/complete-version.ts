/** Gets what a version lacks here, for something that must have all of it. */
import { HyperparcelError } from '../base/errors.ts'
import type { ProgressReporter } from '../base/progress.ts'
import type { VersionInfo } from '../fleet/index.ts'
import type { ClosureOptions } from '../parcel/closure.ts'
import type { FleetNode } from './node.ts'

/** Nothing arrived for that long: give up. */
const STALL_MS = 30_000

export interface CompleteContext {
  signal: AbortSignal
  progress: ProgressReporter
  /** Nothing arrived for that long: give up; 30 s where absent. */
  stallMs?: number
  /** What the user can do then. */
  hint?: string
}

/** Resolves when all of it is stored here. Rejects with `DATA_UNREACHABLE` when no device sends more of it. */
export async function completeVersion(
  node: FleetNode,
  info: VersionInfo,
  opts: ClosureOptions,
  context: CompleteContext
): Promise<void> {
  await unlessStalled(context, (signal, alive) =>
    node.versions.complete(info, { priority: 'proactive', signal }, opts, (progress) => {
      alive()
      context.progress(progress)
    })
  )
}

/** Runs `work` with a signal that aborts with `DATA_UNREACHABLE` when it did not call `alive` for a while. */
export async function unlessStalled<T>(
  context: Pick<CompleteContext, 'signal' | 'stallMs' | 'hint'>,
  work: (signal: AbortSignal, alive: () => void) => Promise<T>
): Promise<T> {
  const stall = new AbortController()
  const giveUp = () => {
    const hint = context.hint ?? 'Connect to a device that has the rest, then try again.'
    const message = 'Parts of it are not stored here, and no device has sent more of them'
    stall.abort(new HyperparcelError('DATA_UNREACHABLE', message, { hint }))
  }
  const start = () => setTimeout(giveUp, context.stallMs ?? STALL_MS)
  let timer = start()
  const alive = () => {
    clearTimeout(timer)
    timer = start()
  }
  try {
    return await work(AbortSignal.any([stall.signal, context.signal]), alive)
  } finally {
    clearTimeout(timer)
  }
}
