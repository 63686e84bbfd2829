/** resume: the lease, the version, a runner, a VM. */
import { mkdir } from 'node:fs/promises'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../../base/errors.ts'
import { Trace } from '../../base/trace.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import { leaseRefusal, type ResumeDecision } from '../../lease/index.ts'
import type { MachineConfig } from '../../vmm/driver.ts'
import { dropLeftovers } from '../../runner/leftovers.ts'
import type { Params, Result } from '../api.ts'
import { headVersion, versionByNumber } from '../heads.ts'
import type { FleetNode } from '../node.ts'
import type { Runner } from '../runners.ts'
import type { OpenedVersion } from '../versions.ts'
import { waitingFor, waitingPhase } from '../waiting.ts'
import type { UseCaseContext } from './context.ts'

/** How long a device that is known but not connected is looked for. */
const FIND_PEER_MS = 8000
/** How long news of a version that a lease names may take after the lease itself. */
const NEWS_MS = 15_000
const REPORT_MS = 500
/** The guest needed nothing for that long: it can do without us for a moment. */
const QUIET_MS = 150
const QUIET_POLL_MS = 25
/** However busy the guest is, some of the rest comes after that. */
const YIELD_MS_MAX = 1000

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
  try {
    const lease = await takeLease(node, parcel, params, context)
    trace.mark('lease')
    const keepOverlays = await settleLeftovers(node, parcel, runner, params)
    const info = await chooseVersion(node, parcel, lease, params, context)
    const opened = await openRecord(node, parcel, info, params, context)
    trace.mark('record')
    const machine = machineOf(parcel, opened)
    const restore = opened.record.state !== null && !keepOverlays
    if (params.offline === true) await refuseMissing(node, parcel, info, restore)
    else prefetch(node, info, opened, restore)
    context.signal.throwIfAborted()
    await node.runners.open(runner, { info, opened })
    trace.mark('open')
    context.progress({ phase: restore ? 'resuming' : 'booting' })
    const startedMs = trace.nowMs
    const started = await whileReporting(node, runner, context, () =>
      runner.process.call('start', {
        machine,
        restore,
        replan: params.reboot === true,
        keepOverlays
      })
    )
    trace.add(started.trace, startedMs)
    runner.ending = false
    runner.status = await runner.process.call('status', null)
    if (params.fetch !== 'demand' && params.offline !== true) completeLater(node, runner, info)
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
      trace: trace.steps
    }
  } catch (err) {
    await node.runners.end(runner, false).catch(safetyCatch)
    throw err
  }
}

/** Says so when the start waits for data, and from whom. */
async function whileReporting<T>(
  node: FleetNode,
  runner: Runner,
  context: UseCaseContext,
  work: () => Promise<T>
): Promise<T> {
  const timer = setInterval(() => {
    const waiting = waitingFor(node, runner)
    if (waiting !== null) {
      context.progress({ phase: waitingPhase(waiting), peers: [waiting.from] })
    }
  }, REPORT_MS)
  try {
    return await work()
  } finally {
    clearInterval(timer)
  }
}

type Lease = ResumeDecision & { ok: true }

/** Resolves when this device holds the lease, durably. Rejects with `LEASE_HELD` and what to do. */
export async function takeLease(
  node: FleetNode,
  parcel: ParcelInfo,
  params: { handoff?: boolean; offline?: boolean },
  context: UseCaseContext
): Promise<Lease> {
  const decide = () => node.leases.mayResume(parcel.id)
  let decision = decide()
  if (!decision.ok && decision.way === 'wait' && params.offline !== true) {
    await news(node, () => (decision = decide()).ok || decision.way !== 'wait', FIND_PEER_MS)
  }
  if (!decision.ok && params.offline !== true && decision.holder !== null) {
    if (decision.way === 'handoff' || decision.way === 'request') {
      await askHolder(node, parcel, decision.holder, params.handoff === true, context)
      decision = decide()
    }
  }
  if (!decision.ok) throw refusal(node, parcel, decision)
  if (!decision.claim) return decision
  await node.leases.claim(parcel.id)
  const claimed = decide()
  if (!claimed.ok) throw refusal(node, parcel, claimed)
  return claimed
}

async function askHolder(
  node: FleetNode,
  parcel: ParcelInfo,
  holder: Buffer,
  handoff: boolean,
  context: UseCaseContext
): Promise<void> {
  const name = node.registry.nameOf(holder)
  if (!(await connected(node, holder, name, context))) {
    throw new HyperparcelError(
      'LEASE_HELD',
      `${name} holds the lease of ${parcel.name} and is not online`,
      {
        hint: `Start the daemon on ${name} and try again. Next time "hyperparcel suspend ${parcel.name} --to ${node.registry.name}" there gives the lease in advance.`,
        context: { parcel: parcel.name, holder: name, online: false }
      }
    )
  }
  if (handoff) {
    context.progress({ phase: `asking ${name} to suspend`, peers: [name] })
    await node.peerApi.requestHandoff(holder, parcel.id, context.signal)
  } else {
    await node.peerApi.requestLease(holder, parcel.id)
  }
}

async function connected(
  node: FleetNode,
  peer: Buffer,
  name: string,
  context: UseCaseContext
): Promise<boolean> {
  const isThere = () => node.network.peers().some(({ publicKey }) => publicKey.equals(peer))
  if (isThere()) return true
  context.progress({ phase: `looking for ${name}`, peers: [name] })
  const signal = AbortSignal.any([context.signal, AbortSignal.timeout(FIND_PEER_MS)])
  while (!isThere()) {
    try {
      await once(node.network, 'peer-add', { signal })
    } catch {
      context.signal.throwIfAborted()
      return isThere()
    }
  }
  return true
}

function refusal(
  node: FleetNode,
  parcel: ParcelInfo,
  decision: ResumeDecision & { ok: false }
): HyperparcelError {
  const holder = decision.holder === null ? 'nobody' : node.registry.nameOf(decision.holder)
  return leaseRefusal(decision, parcel.name, holder, node.registry.name)
}

/** Waits until the registry says so, or the time is up. */
async function news(node: FleetNode, done: () => boolean, timeoutMs: number): Promise<boolean> {
  const signal = AbortSignal.timeout(timeoutMs)
  while (!done()) {
    try {
      await once(node.registry, 'update', { signal })
    } catch {
      return done()
    }
  }
  return true
}

/** The version that a resume continues: the one asked for, else the newest, of which news may still be on its way. */
export async function chooseVersion(
  node: FleetNode,
  parcel: ParcelInfo,
  lease: Lease,
  params: Pick<Params<'resume'>, 'version'>,
  context: UseCaseContext
): Promise<VersionInfo> {
  if (params.version !== undefined) return versionByNumber(node, parcel, params.version)
  const known = () => headVersion(node, parcel.id)
  if (known() === null && lease.version !== null) {
    context.progress({ phase: 'waiting for news of the newest version' })
    await news(node, () => known() !== null, NEWS_MS)
  }
  const head = known()
  if (head !== null) return head
  throw new HyperparcelError(
    'DATA_UNREACHABLE',
    `The newest version of ${parcel.name} is not known here yet`,
    {
      hint: 'Connect to the device that made it, or name an older one with --version.'
    }
  )
}

async function openRecord(
  node: FleetNode,
  parcel: ParcelInfo,
  info: VersionInfo,
  params: Params<'resume'>,
  context: UseCaseContext
): Promise<OpenedVersion> {
  if (params.offline === true) return node.versions.open(info, { local: true })
  await news(node, () => node.registry.logOwner(info.log) !== null, NEWS_MS)
  const timer = setTimeout(
    () => context.progress({ phase: `waiting for data of ${parcel.name}` }),
    1000
  )
  try {
    const opened = await node.versions.open(info, { priority: 'demand', signal: context.signal })
    const known = () => opened.record.logs.every((log) => node.registry.logOwner(log.key) !== null)
    await news(node, known, NEWS_MS)
    return opened
  } finally {
    clearTimeout(timer)
  }
}

function machineOf(parcel: ParcelInfo, { record }: OpenedVersion): MachineConfig {
  if (record.machine !== null) return JSON.parse(record.machine) as MachineConfig
  throw new HyperparcelError('NO_MACHINE', `${parcel.name} has volumes only, no machine to run`, {
    hint: `Use "hyperparcel serve ${parcel.name}".`
  })
}

/** True when the disks of a crashed run are to be kept. Rejects with `CRASH_CHOICE` until the user says. */
export async function settleLeftovers(
  node: FleetNode,
  parcel: ParcelInfo,
  runner: Runner,
  params: Pick<Params<'resume'>, 'fromCrash'>
): Promise<boolean> {
  const stateDirectory = node.stateDirectory(parcel.id)
  await mkdir(stateDirectory, { recursive: true, mode: 0o700 })
  const left = await runner.process.call('leftovers', {
    stateDirectory,
    overlayKey: node.overlayKey.toString('hex')
  })
  if (!left.dirty) return false
  if (params.fromCrash === 'version') {
    await dropLeftovers(stateDirectory)
    return false
  }
  if (params.fromCrash === 'disk') {
    const base = headVersion(node, parcel.id)?.version.toString('hex') ?? null
    if (base === left.base) return true
    throw new HyperparcelError(
      'CRASH_CHOICE',
      `The disk of ${parcel.name} belongs to an older version`,
      {
        hint: 'Only --from-crash version is possible: the parcel was continued since.'
      }
    )
  }
  throw new HyperparcelError(
    'CRASH_CHOICE',
    `${parcel.name} ended without being suspended: its disk has changes that no version has`,
    {
      hint: `"hyperparcel resume ${parcel.name} --from-crash disk" boots from that disk (as after a power cut); "--from-crash version" goes back to the last version and drops the changes.`
    }
  )
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
  { record }: OpenedVersion,
  restore: boolean
): void {
  const { state } = record
  if (state === null || !restore) return
  const blocks = Array.from({ length: state.blocks }, (_, i) => state.firstBlock + i)
  // The commit wrote the maps between the device state and the record.
  const ownLog = record.logs.findIndex((log) => log.key.equals(info.log))
  if (state.log === ownLog) {
    for (let block = state.firstBlock + state.blocks; block < info.block; block++)
      blocks.push(block)
  }
  node.network.fetcher
    .fetch(record.logs[state.log].key, blocks, { priority: 'working-set' })
    .catch(safetyCatch)
}

/** The rest of the version, in the background: while the guest itself needs something, next to nothing of it. */
function completeLater(node: FleetNode, { host }: Runner, info: VersionInfo): void {
  const signal = node.closingSignal
  const pace = async () => {
    const end = performance.now() + YIELD_MS_MAX
    while (host.quietMs() < QUIET_MS && performance.now() < end) {
      await sleep(QUIET_POLL_MS, undefined, { signal })
    }
  }
  node.versions.complete(info, { priority: 'hoard', signal, pace }, {}, () => {}).catch(safetyCatch)
}
