/** resume: the lease, the version, a runner, a VM. */
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../../base/errors.ts'
import { Trace } from '../../base/trace.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import type { StartParams, StartResult } from '../../runner/protocol.ts'
import type { MachineConfig } from '../../vmm/driver.ts'
import type { Params, Result } from '../api.ts'
import { openVersion } from '../versions/complete-version.ts'
import { outOfReach } from '../versions/out-of-reach.ts'
import { versionByNumber } from '../versions/heads.ts'
import { awaitNews } from '../peers/news.ts'
import type { FleetNode } from '../node.ts'
import { makeWay } from '../versions/pace.ts'
import type { Runner } from '../runners/runners.ts'
import type { OpenedVersion } from '../versions/versions.ts'
import { whileReading } from '../runners/waiting.ts'
import { chooseVersion } from './choose-version.ts'
import type { UseCaseContext } from './context.ts'
import { settleLeftovers } from './settle-leftovers.ts'
import { takeLease } from './take-lease.ts'

/** How long news of the logs that a version needs may take after the version itself. */
const NEWS_MS = 15_000

export async function resume(
  node: FleetNode,
  params: Params<'resume'>,
  context: UseCaseContext
): Promise<Result<'resume'>> {
  const trace = new Trace()
  const parcel = node.parcel(params.name)
  const runner = await node.runners.start(parcel, 'vm')
  trace.mark('runner')
  runner.ending = true // nobody else cleans up while it is being made
  const before = holderOf(node, parcel)
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
    if (params.offline === true) await refuseMissing(node, parcel, info, restore)
    else prefetch(node, info, opened, restore)
    context.signal.throwIfAborted()
    await node.runners.open(runner, { info, opened })
    trace.mark('open')
    context.progress({ phase: restore ? 'resuming' : 'booting' })
    const startedMs = trace.nowMs
    const replan = params.reboot === true
    const start = { machine, restore, replan, keepOverlays: keep }
    const started = await startVm(node, runner, info, start, context)
    trace.add(started.trace, startedMs)
    runner.ending = false
    runner.status = await runner.process.call('status', null)
    if (params.fetch !== 'demand' && params.offline !== true) completeLater(node, info)
    return {
      parcel: parcel.name,
      version: info.number,
      epoch: lease.epoch,
      booted: started.booted,
      resume_ms: trace.nowMs,
      bytes_fetched: runner.host.fetchedBytes,
      vnc: started.vnc,
      serial: started.serial,
      volumes: started.volumes,
      clock: started.clock,
      damaged_bytes: damagedBytes,
      trace: trace.steps
    }
  } catch (err) {
    await node.runners.end(runner, false).catch(safetyCatch)
    throw withLease(node, parcel, before, err)
  }
}

/** Public key of the device that holds the lease. */
function holderOf(node: FleetNode, { id }: ParcelInfo): Buffer | null {
  const body = node.leases.chain(id).head?.entry.body
  return body === undefined || body.released ? null : body.holder
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
    return node.versions.open(info, { local: true }).catch((err: Error & { code?: string }) => {
      if (err.code === 'DATA_UNREACHABLE') throw outOfReach(node, info)
      throw err
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
  parcel: ParcelInfo,
  info: VersionInfo,
  withState: boolean
): Promise<void> {
  const opts = { withoutState: !withState }
  const held = await node.versions.holdings(info, { local: true }, opts)
  if (held.missing.length === 0) return
  const bytes = held.bytesTotal - held.bytesLocal
  throw new HyperparcelError(
    'DATA_UNREACHABLE',
    `${bytes} bytes of ${parcel.name} are not stored here`,
    {
      hint: 'Resume it once while another device is online; the rest then comes in the background.',
      context: { bytes_missing: bytes }
    }
  )
}

/** State and maps are asked for at once, while the VMM starts. */
function prefetch(
  node: FleetNode,
  info: VersionInfo,
  { record, annex }: OpenedVersion,
  restore: boolean
): void {
  const { state } = record
  if (state === null || !restore) return
  const blocks = Array.from({ length: state.blocks }, (_, i) => state.firstBlock + i)
  // The commit wrote the maps between the device state and the record.
  const ownLog = record.logs.findIndex((log) => log.key.equals(info.log))
  if (state.log === ownLog && annex === null) {
    for (let block = state.firstBlock + state.blocks; block < info.block; block++)
      blocks.push(block)
  }
  node.network.fetcher
    .fetch(record.logs[state.log].key, blocks, { priority: 'working-set' })
    .catch(safetyCatch)
}

/** The rest of the version, in the background: while the guest itself needs something, next to nothing of it. */
function completeLater(node: FleetNode, info: VersionInfo): void {
  const signal = node.closingSignal
  const pace = () => makeWay(node, signal)
  node.versions.complete(info, { priority: 'hoard', signal, pace }, {}, () => {}).catch(safetyCatch)
}
