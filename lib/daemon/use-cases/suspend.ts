/** suspend and checkpoint: versions of a running VM. */
import safetyCatch from 'safety-catch'
import { Trace } from '../../base/trace.ts'
import type { Progress, ProgressReporter } from '../../base/progress.ts'
import type { ParcelInfo } from '../../fleet/index.ts'
import type { CommitSummary } from '../../runner/protocol.ts'
import type { Params, Result } from '../api.ts'
import { completeVersion } from '../versions/complete-version.ts'
import { commitParams } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
import type { Runner } from '../runners/runners.ts'
import type { UseCaseContext } from './context.ts'
import { deliver, handOver, madeBefore, recipient, type Made } from './hand-over.ts'
import { refuseTooManyReplicas, waitReplicas } from './wait-replicas.ts'

const NEVER = new AbortController().signal
const NOTHING = Buffer.alloc(0)

export interface SuspendOptions {
  message: string
  progress: ProgressReporter
  /** Let the VM run on. */
  keepRunning?: boolean
  signal?: AbortSignal
}

export async function suspend(
  node: FleetNode,
  params: Params<'suspend'>,
  context: UseCaseContext
): Promise<Result<'suspend'>> {
  const began = performance.now()
  const parcel = node.parcel(params.name)
  refuseTooManyReplicas(node, params.waitReplicas ?? 0)
  const to = recipient(node, params.to)
  const made = await madeBefore(node, parcel, to, params.waitReplicas ?? 0)
  if (made !== null) return leaveSuspended(node, parcel, made, to, params, context)
  node.runners.running(parcel, 'suspend')
  const summary = await suspendParcel(node, parcel, {
    message: params.message ?? '',
    progress: context.progress,
    signal: context.signal
  })
  const suspendMs = Math.round(performance.now() - began)
  const version = Buffer.from(summary.version, 'hex')
  const delivered = to === null ? null : await handOver(node, parcel, to, version, context)
  return {
    ...result(parcel, summary, suspendMs),
    replicas: await replicasOf(node, parcel, version, params.waitReplicas ?? 0, to, context),
    lease_delivered: delivered
  }
}

/** It is suspended already: only the lease goes, or others shall have a copy. */
async function leaveSuspended(
  node: FleetNode,
  parcel: ParcelInfo,
  made: Made,
  to: Buffer | null,
  params: Params<'suspend'>,
  context: UseCaseContext
): Promise<Result<'suspend'>> {
  const began = performance.now()
  const release = node.runners.reserve(parcel)
  try {
    const { info } = made
    let delivered: boolean | null = null
    if (to !== null && made.given) delivered = await deliver(node, parcel, to, context)
    else if (to !== null) delivered = await handOver(node, parcel, to, info.version, context)
    return {
      parcel: parcel.name,
      version: info.number,
      suspend_ms: Math.round(performance.now() - began),
      pause_ms: 0,
      bytes_new: 0,
      bytes_stored: 0,
      replicas: await waitReplicas(node, info, params.waitReplicas ?? 0, to, context),
      lease_delivered: delivered,
      already_suspended: true,
      trace: {}
    }
  } finally {
    release()
  }
}

export async function checkpoint(
  node: FleetNode,
  params: Params<'checkpoint'>,
  context: UseCaseContext
): Promise<Result<'checkpoint'>> {
  const began = performance.now()
  const parcel = node.parcel(params.name)
  const summary = await suspendParcel(node, parcel, {
    message: params.message ?? '',
    progress: context.progress,
    signal: context.signal,
    keepRunning: true
  })
  const version = Buffer.from(summary.version, 'hex')
  return {
    ...result(parcel, summary, Math.round(performance.now() - began)),
    replicas: await replicasOf(node, parcel, version, 0, null, context)
  }
}

/** Makes a version of the running VM. On an error it runs on. */
export async function suspendParcel(
  node: FleetNode,
  parcel: ParcelInfo,
  opts: SuspendOptions
): Promise<CommitSummary> {
  const quit = opts.keepRunning !== true
  const runner = node.runners.running(parcel, quit ? 'suspend' : 'checkpoint')
  const trace = new Trace()
  await completeBase(node, runner, opts)
  trace.mark('complete')
  opts.signal?.throwIfAborted()
  const names = quit ? await touchedBy(runner) : NOTHING
  runner.status = await runner.process.call('status', null)
  const params = {
    ...commitParams(node, runner, quit ? 'suspend' : 'checkpoint', opts.message),
    quit
  }
  if (quit) runner.ending = true
  const oncancel = () => void runner.process.call('cancelSnapshot', null).catch(safetyCatch)
  opts.signal?.addEventListener('abort', oncancel, { once: true })
  try {
    const startedMs = trace.nowMs
    const summary = await runner.process.call('snapshot', params, {
      onevent: (event) => opts.progress(event as Progress)
    })
    if (quit) await node.runners.ended(runner)
    if (quit) considerPack(node, runner, summary, names)
    trace.add(summary.trace, startedMs)
    return { ...summary, trace: trace.steps }
  } catch (err) {
    runner.ending = false
    throw err
  } finally {
    opts.signal?.removeEventListener('abort', oncancel)
  }
}

/** What its resume touched, in order. */
async function touchedBy(runner: Runner): Promise<Buffer> {
  const { attachment } = await runner.process.channel.callRaw('trace', null)
  return attachment
}

/** So that the next resume, here or elsewhere, finds what it needs in one place. */
function considerPack(node: FleetNode, runner: Runner, made: CommitSummary, names: Buffer): void {
  const info = node.registry
    .versions(runner.parcel)
    .find(({ version }) => version.toString('hex') === made.version)
  if (info !== undefined) node.rehearsals.consider(info, names)
}

/** A commit references only what is stored here: fetch what the parent version lacks while the VM runs on. */
async function completeBase(node: FleetNode, runner: Runner, opts: SuspendOptions): Promise<void> {
  runner.status = await runner.process.call('status', null)
  const base = runner.status.version
  const info = node.registry
    .versions(runner.parcel)
    .find((known) => known.version.toString('hex') === base)
  if (info === undefined) return
  await completeVersion(
    node,
    info,
    { withoutState: true },
    {
      signal: opts.signal ?? NEVER,
      progress: opts.progress,
      note: 'The VM runs on.',
      why: 'suspend'
    }
  )
}

function replicasOf(
  node: FleetNode,
  parcel: ParcelInfo,
  version: Buffer,
  wanted: number,
  first: Buffer | null,
  context: UseCaseContext
): Promise<number> {
  const made = node.registry.versions(parcel.id).find((known) => known.version.equals(version))!
  return waitReplicas(node, made, wanted, first, context)
}

function result(parcel: ParcelInfo, summary: CommitSummary, suspendMs: number) {
  return {
    parcel: parcel.name,
    version: summary.number,
    suspend_ms: suspendMs,
    pause_ms: Math.round(summary.pauseMs),
    bytes_new: summary.bytesNew,
    bytes_stored: summary.bytesStored,
    trace: summary.trace
  }
}
