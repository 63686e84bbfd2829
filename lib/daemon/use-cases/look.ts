/** Everything that only looks: ls, show, log, lease, devices, status, console. */
import { HyperparcelError } from '../../base/errors.ts'
import { COMPRESSION_LEVEL } from '../../base/limits.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import type { MachineConfig } from '../../vmm/driver.ts'
import type { Params, ParcelRow, ParcelState, ReplicaRow, Result } from '../api.ts'
import type { OrderRow } from '../api-versions.ts'
import { bytesHere, bytesHereOfEach } from '../versions/bytes-here.ts'
import { headVersion } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
import { waitingFor, waitingPhase } from '../runners/waiting.ts'
import { askCache } from '../peers/caches.ts'
import { whereabouts, type Whereabouts } from '../peers/whereabouts.ts'

export async function ls(node: FleetNode): Promise<Result<'ls'>> {
  const known = node.registry.parcels()
  const elsewhere = await Promise.all(known.map((parcel) => whereabouts(node, parcel)))
  const parcels: ParcelRow[] = []
  for (const [i, parcel] of known.entries()) parcels.push(await row(node, parcel, elsewhere[i]))
  return { parcels }
}

export async function show(node: FleetNode, params: Params<'show'>): Promise<Result<'show'>> {
  const parcel = node.parcel(params.name)
  const info = headVersion(node, parcel.id)
  const record = info === null ? null : await recordIfHere(node, info)
  const here = info === null ? null : await bytesHere(node, info)
  const runner = node.runners.get(parcel.id)
  const machine =
    record?.machine === null || record === null
      ? null
      : (JSON.parse(record.machine) as MachineConfig)
  return {
    parcel: {
      ...(await row(node, parcel, await whereabouts(node, parcel))),
      id: parcel.id.toString('hex'),
      epoch: node.leases.chain(parcel.id).epoch,
      versions: node.registry.versions(parcel.id).length,
      compression: parcel.compressionLevel ?? COMPRESSION_LEVEL,
      bad_versions: badVersions(node, parcel),
      volumes: record?.volumes.map((v) => ({ name: v.name, bytes: v.sizeBytes })) ?? [],
      machine: {
        vmm: machine?.vmm ?? '',
        vmm_version: machine?.vmmVersion ?? '',
        machine_type: machine?.machineType ?? '',
        accel: machine?.accelerator ?? '',
        cpu_model: machine?.cpuModel ?? '',
        cpus: machine?.cpus ?? 0,
        memory_bytes: machine?.memoryBytes ?? 0
      },
      serial: runner?.status?.start?.serial ?? null,
      vnc: runner?.status?.start?.vnc ?? null,
      clock: runner?.status?.start?.clock ?? null,
      bytes_missing: info === null ? 0 : info.bytesTotal - here!.bytes,
      complete: here?.whole ?? false,
      author: info === null ? null : node.registry.nameOf(info.device),
      replicas: info === null ? [] : await replicasOf(node, info),
      orders: orderRows(node, parcel.id)
    }
  }
}

function badVersions(node: FleetNode, { id }: ParcelInfo) {
  return node.registry.versions(id).flatMap(({ version, number }) => {
    const check = node.verified.get(version.toString('hex'))
    if (check?.bad !== true) return []
    return [{ version: number, time: new Date(check.time).toISOString() }]
  })
}

export async function log(node: FleetNode, params: Params<'log'>): Promise<Result<'log'>> {
  const parcel = node.parcel(params.name)
  const known = node.registry.versions(parcel.id)
  const chain = node.leases.chain(parcel.id)
  const numbers = new Map(known.map((info) => [info.version.toString('hex'), info.number]))
  const local = bytesHereOfEach(known, await node.versions.local(known))
  const replicas = await node.replicas.countEach(known)
  const versions: Result<'log'>['versions'] = []
  for (const [i, info] of known.entries()) {
    versions.push({
      version: info.number,
      parent: info.parent === null ? null : (numbers.get(info.parent.toString('hex')) ?? null),
      epoch: chain.get(info.lease)?.entry.body.epoch ?? 0,
      device: node.registry.nameOf(info.device),
      time: new Date(info.time).toISOString(),
      message: info.message,
      bytes_new: info.bytesNew,
      bytes_local: local[i].bytes,
      bytes_total: info.bytesTotal,
      complete: local[i].whole,
      replicas: replicas[i],
      memory: info.hasMemory,
      cause: (await recordIfHere(node, info))?.cause ?? null
    })
  }
  return { parcel: parcel.name, versions }
}

export async function lease(node: FleetNode, params: Params<'lease'>): Promise<Result<'lease'>> {
  const parcel = node.parcel(params.name)
  const { head } = node.leases.chain(parcel.id)
  if (head === null) return { parcel: parcel.name, holder: null, epoch: 0, state: 'free' }
  const { holder, released, epoch, reason } = head.entry.body
  const used = node.registry.versions(parcel.id).some((v) => v.lease.equals(head.hash))
  const here = node.runners.get(parcel.id)?.purpose === 'vm'
  const unused = reason === 'grant' && !released && !used && !here
  const granted = unused && (await whereabouts(node, parcel)) !== 'running'
  return {
    parcel: parcel.name,
    holder: released ? null : node.registry.nameOf(holder),
    epoch,
    state: released ? 'free' : granted ? 'granted' : 'held'
  }
}

export async function devices(node: FleetNode): Promise<Result<'devices'>> {
  const self = node.identity.device.publicKey
  const moves = node.sources.list()
  const peers = new Map(node.network.peers().map((p) => [p.publicKey.toString('hex'), p]))
  const known = node.registry.devices().filter((device) => !device.removed)
  return {
    devices: await Promise.all(
      known.map(async (device) => {
        const peer = peers.get(device.publicKey.toString('hex'))
        const isSelf = device.publicKey.equals(self)
        const seen = node.lastSeen(device.publicKey)
        const moved = moves.find((s) => s.name === device.name && s.kind === device.role)
        const cache = device.role === 'cache' ? await askCache(node, device.publicKey) : null
        return {
          name: device.name,
          role: device.role,
          online: isSelf || peer !== undefined,
          rtt_ms: roundMs(peer?.rttMs),
          path: peer?.kind ?? null,
          links: (peer?.links ?? []).map(({ kind, rttMs }) => ({ kind, rtt_ms: roundMs(rttMs) })),
          last_seen: seen === null ? null : new Date(seen).toISOString(),
          self: isSelf,
          block_bytes_received: moved?.bytesIn ?? 0,
          block_bytes_sent: moved?.bytesOut ?? 0,
          received_per_second: moved?.perSecondIn ?? 0,
          sent_per_second: moved?.perSecondOut ?? 0,
          quota_bytes: cache?.quotaBytes,
          bytes_held: cache?.heldBytes,
          full: cache?.full
        }
      })
    )
  }
}

/** To hundredths: nobody measures more. */
export function roundMs(ms: number | null | undefined): number | null {
  return ms == null ? null : Math.round(ms * 100) / 100
}

export async function consoleOf(
  node: FleetNode,
  params: Params<'console'>
): Promise<Result<'console'>> {
  const parcel = node.parcel(params.name)
  const runner = node.runners.running(parcel, 'console')
  runner.status = await runner.process.call('status', null)
  const { start } = runner.status
  if (start !== null) return { parcel: parcel.name, serial: start.serial, vnc: start.vnc }
  throw new HyperparcelError('PARCEL_NOT_RUNNING', `${parcel.name} is still being started`, {
    hint: 'Try again in a moment.'
  })
}

async function row(
  node: FleetNode,
  parcel: ParcelInfo,
  elsewhere: Whereabouts | null
): Promise<ParcelRow> {
  const info = headVersion(node, parcel.id)
  const { head } = node.leases.chain(parcel.id)
  const holder = head === null || head.entry.body.released ? null : head.entry.body.holder
  const runner = node.runners.get(parcel.id)
  const waiting = runner === null ? null : waitingFor(node, runner)
  const state = await stateOf(node, parcel, holder)
  return {
    name: parcel.name,
    state,
    version: info?.number ?? 0,
    time: new Date(info?.time ?? parcel.created).toISOString(),
    holder: holder === null ? null : node.registry.nameOf(holder),
    elsewhere: state === 'elsewhere' ? elsewhere : null,
    memory: info?.hasMemory ?? false,
    bytes_total: info?.bytesTotal ?? 0,
    bytes_local: info === null ? 0 : await bytesLocal(node, info),
    waiting_ms: waiting?.ms ?? 0,
    note: waiting !== null ? waitingPhase(waiting) : (runner?.status?.reason ?? null)
  }
}

async function stateOf(
  node: FleetNode,
  parcel: ParcelInfo,
  holder: Buffer | null
): Promise<ParcelState> {
  const runner = node.runners.get(parcel.id)
  if (runner !== null) {
    if (runner.purpose === 'serve') return 'serving'
    return runner.status?.state === 'paused' ? 'paused' : 'running'
  }
  if (await node.hasLeftovers(parcel.id)) return 'crashed'
  const elsewhere = holder !== null && !holder.equals(node.identity.device.publicKey)
  return elsewhere ? 'elsewhere' : 'suspended'
}

/** Devices that have all of it: who is connected is asked, the others count by what they said last. */
async function replicasOf(node: FleetNode, info: VersionInfo): Promise<ReplicaRow[]> {
  await node.replicas.count(info)
  return node.replicas.held(info).map(({ device, time }) => ({
    device: node.registry.nameOf(device),
    online: node.network.isConnected(device),
    confirmed: new Date(time).toISOString()
  }))
}

/** Standing orders in force, of one parcel or of all. */
export function orderRows(node: FleetNode, parcel?: Buffer): OrderRow[] {
  return (['follow', 'push'] as const).flatMap((kind) =>
    node.orders.active(kind, parcel).map((order) => ({
      parcel: node.registry.parcel(order.parcel)?.name ?? '',
      kind,
      device: node.registry.nameOf(order.device),
      since: new Date(order.since).toISOString()
    }))
  )
}

/** Of one version. */
export async function bytesLocal(node: FleetNode, info: VersionInfo): Promise<number> {
  return (await bytesHere(node, info)).bytes
}

async function recordIfHere(node: FleetNode, info: VersionInfo) {
  try {
    return (await node.versions.record(info, { local: true })).record
  } catch {
    return null
  }
}
