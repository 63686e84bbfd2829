/** resume: the lease, the version, a runner, a VM. */
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../../base/errors.ts'
import { Trace } from '../../base/trace.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import type { StartParams, StartResult } from '../../runner/protocol.ts'
import type { MachineConfig } from '../../vmm/driver.ts'
import type { Params, Result } from '../api.ts'
import { openVersion } from '../versions/complete-version.ts'
import { bytesHere } from '../versions/bytes-here.ts'
import { headVersion, versionByNumber } from '../versions/heads.ts'
import type { OpenedPack } from '../packs/packs.ts'
import { ResumeStream } from '../packs/resume-stream.ts'
import { awaitNews } from '../peers/news.ts'
import type { FleetNode } from '../node.ts'
import { makeWay } from '../versions/pace.ts'
import type { Runner } from '../runners/runners.ts'
import type { OpenedVersion } from '../versions/versions.ts'
import { whileReading } from '../runners/waiting.ts'
import { chooseVersion } from './choose-version.ts'
import type { UseCaseContext } from './context.ts'
import { handOver } from './hand-over.ts'
import { settleLeftovers } from './settle-leftovers.ts'
import { takeLease } from './take-lease.ts'

/** How long news of the logs that a version needs may take after the version itself. */
const NEWS_MS = 15_000
/** Whoever resumes waits for an answer first, and this device has better to do meanwhile. */
const ANSWER_MS = 5000

export async function resume(
  node: FleetNode,
  params: Params<'resume'>,
  context: UseCaseContext
): Promise<Result<'resume'>> {
  const trace = new Trace()
  const parcel = node.parcel(params.name)
  let stream = beginStream(node, parcel, params)
  const runner = await node.runners.start(parcel, 'vm')
  trace.mark('runner')
  runner.ending = true // nobody else cleans up while it is being made
  const before = holderOf(node, parcel)
  const transfer = node.transfers.watch({ parcel: parcel.name, version: 0, why: 'resume' })
  try {
    // One that is asked for by number must be there before anything is asked of another device.
    if (params.version !== undefined) {
      const wanted = versionByNumber(node, parcel, params.version)
      if (params.offline !== true) await openVersion(node, wanted, context)
    }
    const lease = await takeLease(node, parcel, params, context)
    trace.mark('lease')
    const { keep, damagedBytes } = await settleLeftovers(node, parcel, runner, params)
    const info = await chooseVersion(node, parcel, lease, params, context)
    const opened = await openRecord(node, info, params, context)
    trace.mark('record')
    const machine = machineOf(parcel, opened)
    const restore = opened.record.state !== null && !keep
    if (params.offline === true) await refuseMissing(node, info, restore)
    else if (restore && stream?.info.version.equals(info.version) !== true) {
      stream?.end()
      stream = new ResumeStream(node, info, params.fetch !== 'demand')
    }
    const pack = restore ? ((await stream?.pack) ?? null) : null
    trace.mark('pack')
    context.signal.throwIfAborted()
    await node.runners.open(runner, { info, opened }, pack)
    trace.mark('open')
    context.progress({ phase: restore ? 'resuming' : 'booting' })
    const startedMs = trace.nowMs
    const replan = params.reboot === true
    const start = { machine, restore, replan, keepOverlays: keep }
    const started = await startVm(node, runner, info, start, context)
    trace.add(started.trace, startedMs)
    runner.ending = false
    runner.status = await runner.process.call('status', null)
    if (params.fetch !== 'demand' && params.offline !== true) {
      void completeLater(node, parcel, info, stream?.done ?? Promise.resolve()) // never rejects
    }
    return {
      parcel: parcel.name,
      version: info.number,
      epoch: lease.epoch,
      booted: started.booted,
      resume_ms: trace.nowMs,
      bytes_fetched: runner.host.fetchedBytes,
      bytes_nearby: runner.host.seedBytes,
      sources: transfer.shares(),
      vnc: started.vnc,
      serial: started.serial,
      volumes: started.volumes,
      clock: started.clock,
      damaged_bytes: damagedBytes,
      pack: pack === null ? null : packFacts(pack),
      trace: trace.steps
    }
  } catch (err) {
    stream?.end()
    await node.runners.end(runner, false).catch(safetyCatch)
    if (context.signal.aborted) await giveBack(node, parcel, before, context).catch(safetyCatch)
    throw withLease(node, parcel, before, err)
  }
}

/** Public key of the device that holds the lease. */
function holderOf(node: FleetNode, { id }: ParcelInfo): Buffer | null {
  const body = node.leases.chain(id).head?.entry.body
  return body === undefined || body.released ? null : body.holder
}

/** A resume that the user gave up leaves the lease where it was. It stays, which is told, where that device is not online. */
async function giveBack(
  node: FleetNode,
  parcel: ParcelInfo,
  before: Buffer | null,
  context: UseCaseContext
): Promise<void> {
  const self = node.identity.device.publicKey
  if (before === null || before.equals(self) || !node.network.isConnected(before)) return
  if (holderOf(node, parcel)?.equals(self) !== true || node.runners.inUse(parcel.id)) return
  if (await node.hasLeftovers(parcel.id)) return
  await handOver(node, parcel, before, headVersion(node, parcel.id)?.version ?? null, context)
}

/** A resume that failed after it got the lease from another device says so. */
function withLease(
  node: FleetNode,
  parcel: ParcelInfo,
  before: Buffer | null,
  thrown: unknown
): HyperparcelError {
  const err = HyperparcelError.from(thrown)
  const self = node.identity.device.publicKey
  if (before === null || before.equals(self) || holderOf(node, parcel)?.equals(self) !== true) {
    return err
  }
  const name = node.registry.nameOf(before)
  const told = `The lease is on this device now: \`hyperparcel suspend ${parcel.name} --to ${name}\` gives it back.`
  const hint = err.hint === undefined ? told : `${err.hint} ${told}`
  return new HyperparcelError(err.code, err.message, { hint, cause: err, context: err.context })
}

/** Starts the VM. Until its CPUs run, the user may give up, and so do we when no data comes for long. */
function startVm(
  node: FleetNode,
  runner: Runner,
  info: VersionInfo,
  params: StartParams,
  context: UseCaseContext
): Promise<StartResult> {
  return whileReading(node, runner, info, context, async (signal) => {
    const cancel = () => {
      const reason = HyperparcelError.from(signal.reason).toJSON()
      runner.process.call('cancelStart', reason).catch(safetyCatch)
    }
    signal.addEventListener('abort', cancel, { once: true })
    try {
      return await runner.process.call('start', params)
    } finally {
      signal.removeEventListener('abort', cancel)
    }
  })
}

async function openRecord(
  node: FleetNode,
  info: VersionInfo,
  params: Params<'resume'>,
  context: UseCaseContext
): Promise<OpenedVersion> {
  if (params.offline === true) {
    return node.versions.open(info, { local: true }).catch(async (err: { code?: string }) => {
      if (err.code !== 'DATA_UNREACHABLE' && err.code !== 'KEY_MISSING') throw err
      const { bytes } = await bytesHere(node, info)
      throw notHere(node, info, Math.max(1, info.bytesTotal - bytes))
    })
  }
  await awaitNews(node, () => node.registry.logOwner(info.log) !== null, NEWS_MS, context.signal)
  const opened = await openVersion(node, info, context)
  const known = () => opened.record.logs.every((log) => node.registry.logOwner(log.key) !== null)
  await awaitNews(node, known, NEWS_MS, context.signal)
  return opened
}

function machineOf(parcel: ParcelInfo, { record }: OpenedVersion): MachineConfig {
  if (record.machine !== null) return JSON.parse(record.machine) as MachineConfig
  throw new HyperparcelError('NO_MACHINE', `${parcel.name} has volumes only, no machine to run`, {
    hint: `Use \`hyperparcel serve ${parcel.name}\`.`
  })
}

async function refuseMissing(
  node: FleetNode,
  info: VersionInfo,
  withState: boolean
): Promise<void> {
  const opts = { withoutState: !withState }
  const held = await node.versions.holdings(info, { local: true }, opts).catch(unlessAbsent)
  if (held?.missing.length === 0) return
  const local = held?.bytesLocal ?? (await bytesHere(node, info)).bytes
  throw notHere(node, info, Math.max(1, info.bytesTotal - local))
}

/** Null where not even its maps are here. */
function unlessAbsent(err: unknown): null {
  const { code } = err as { code?: string }
  if (code === 'DATA_UNREACHABLE' || code === 'KEY_MISSING') return null
  throw err
}

function notHere(node: FleetNode, info: VersionInfo, bytes: number): HyperparcelError {
  const parcel = node.registry.parcel(info.parcel)?.name ?? 'the parcel'
  return new HyperparcelError(
    'DATA_UNREACHABLE',
    `${bytes} bytes of version ${info.number} of ${parcel} are not stored here`,
    {
      hint: `While another device that has them is online: \`hyperparcel hoard ${parcel}\`, with --follow for the versions to come.`,
      context: { parcel, version: info.number, bytes_missing: bytes }
    }
  )
}

/** Of the version that will be the one, as far as one can tell; a version without device state has nothing to stream. */
function beginStream(
  node: FleetNode,
  parcel: ParcelInfo,
  params: Params<'resume'>
): ResumeStream | null {
  if (params.offline === true || node.runners.inUse(parcel.id)) return null
  const numbered = (info: VersionInfo) => info.number === params.version
  const info =
    params.version === undefined
      ? headVersion(node, parcel.id)
      : node.registry.versions(parcel.id).findLast(numbered)
  if (!info?.hasMemory || node.registry.logOwner(info.log) === null) return null
  return new ResumeStream(node, info, params.fetch !== 'demand')
}

function packFacts({ index, isLocal }: OpenedPack) {
  return {
    segments: index.segments,
    chunks: index.chunks,
    answer_chunks: index.head.answered,
    local: isLocal
  }
}

/** The rest of the version, in the background: not before an answer, and while the guest itself needs something, next to nothing of it. */
async function completeLater(
  node: FleetNode,
  parcel: ParcelInfo,
  info: VersionInfo,
  streamed: Promise<void>
): Promise<void> {
  const signal = node.closingSignal
  const pace = () => makeWay(node, signal)
  const reach = { priority: 'hoard', signal, pace } as const
  const of = { parcel: parcel.name, version: info.number, why: 'resume' }
  try {
    await Promise.all([streamed, sleep(ANSWER_MS, undefined, { signal })])
    const blocks = await node.transfers.during(of, (transfer) =>
      node.versions.complete(info, reach, {}, (progress) => void transfer.report(progress))
    )
    if (blocks === 0) return
    await node.store.flush()
    node.orderCalls.tellHeld(info)
  } catch (err) {
    safetyCatch(err)
  }
}
