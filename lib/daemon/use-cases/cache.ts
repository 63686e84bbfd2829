/** What a cache tells of itself: status, devices, ls, stats. It knows no names of parcels, and of devices what their cards say. */
import { statfs } from 'node:fs/promises'
import { HyperparcelError } from '../../base/errors.ts'
import type { CacheRow, HeldRow } from '../api-cache.ts'
import type { Result } from '../api.ts'
import type { CacheFleet } from '../cache/cache-fleet.ts'
import { isWhole, progressOf } from '../cache/cache-calls.ts'
import type { CacheNode } from '../cache/cache-node.ts'
import type { ListedVersion } from '../cache/pin-book.ts'
import { roundMs } from './look.ts'
import { peerRow } from './stats.ts'
import { diskUsage } from './status.ts'

const NO_TRAFFIC = {
  block_bytes_received: 0,
  block_bytes_sent: 0,
  received_per_second: 0,
  sent_per_second: 0
}

export async function cacheStatus(node: CacheNode): Promise<Result<'status'>> {
  const fleets = node.fleets()
  const { bavail, bsize } = await statfs(node.paths.home)
  const online = fleets.flatMap((fleet) =>
    fleet.network.peers().map(({ publicKey }) => nameOf(fleet, publicKey))
  )
  return {
    device: fleets[0]?.identity.name ?? null,
    fleet: fleets.length === 1 ? fleets[0].identity.fleet.toString('hex') : null,
    role: 'cache',
    home: node.paths.home,
    peers: online.length,
    online,
    running: [],
    orders: [],
    bytes_stored: await diskUsage(node.paths.store),
    bytes_free: bavail * bsize,
    caches: await Promise.all(fleets.map(row))
  }
}

export async function cacheLs(node: CacheNode): Promise<Result<'ls'>> {
  const held = await Promise.all(node.fleets().map(versions))
  return { parcels: [], held: held.flat() }
}

export function cacheDevices(node: CacheNode): Result<'devices'> {
  const devices: Result<'devices'>['devices'] = []
  for (const fleet of node.fleets()) {
    const { name, device } = fleet.identity
    const self = { name, role: 'cache', online: true, rtt_ms: null, self: true } as const
    devices.push({
      ...self,
      ...NO_TRAFFIC,
      path: null,
      links: [],
      last_seen: new Date().toISOString()
    })
    const peers = new Map(fleet.network.peers().map((p) => [p.publicKey.toString('hex'), p]))
    for (const key of fleet.pins.members()) {
      if (key.equals(device.publicKey)) continue
      const peer = peers.get(key.toString('hex'))
      devices.push({
        name: nameOf(fleet, key),
        role: 'device',
        online: peer !== undefined,
        rtt_ms: roundMs(peer?.rttMs),
        path: peer?.kind ?? null,
        links: (peer?.links ?? []).map(({ kind, rttMs }) => ({ kind, rtt_ms: roundMs(rttMs) })),
        block_bytes_received: peer?.blockBytesIn ?? 0,
        block_bytes_sent: peer?.blockBytesOut ?? 0,
        received_per_second: 0,
        sent_per_second: 0,
        last_seen: peer === undefined ? null : new Date().toISOString(),
        self: false
      })
    }
  }
  return { devices }
}

export async function cacheStats(
  node: CacheNode,
  { name }: { name?: string }
): Promise<Result<'stats'>> {
  if (name !== undefined) throw isCache()
  const rows = await Promise.all(node.fleets().map(versions))
  const held = rows.flat().filter(({ complete }) => complete)
  return {
    parcel: null,
    parcels: new Set(rows.flat().map(({ parcel }) => parcel)).size,
    versions: held.length,
    bytes_total: 0,
    bytes_new: 0,
    bytes_packed: node.fleets().reduce((sum, fleet) => sum + fleet.held.bytes, 0),
    dedup_ratio: null,
    bytes_local: 0,
    bytes_stored: await diskUsage(node.paths.store),
    chunks_indexed: 0,
    logs: (await node.store.list()).length,
    sources: [],
    transfers: [],
    peers: node
      .fleets()
      .flatMap((fleet) =>
        fleet.network.peers().map((peer) => peerRow(peer, nameOf(fleet, peer.publicKey)))
      ),
    packs: { made: 0, cancelled: 0, failed: 0, bad: 0 },
    running: [],
    caches: await Promise.all(node.fleets().map(row))
  }
}

/** What everything answers that needs a key. */
export function isCache(): HyperparcelError {
  return new HyperparcelError('IS_CACHE', 'This home is a cache: it has no keys and no parcels', {
    hint: 'Use a device of the fleet. `hyperparcel ls` and `hyperparcel status` show what is held here.'
  })
}

async function row(fleet: CacheFleet): Promise<CacheRow> {
  const listed = await versions(fleet)
  return {
    fleet: fleet.identity.fleet.toString('hex'),
    device: fleet.identity.name,
    quota_bytes: fleet.quotaBytes,
    bytes_held: fleet.held.bytes,
    versions: listed.filter(({ complete }) => complete).length,
    versions_listed: listed.length,
    full: fleet.filler.full,
    bytes_over: fleet.filler.plan?.bytesOver ?? 0
  }
}

/** The newest first; one that several devices list, as it is held best. */
async function versions(fleet: CacheFleet): Promise<HeldRow[]> {
  const rows = new Map<string, HeldRow>()
  const known = new Map<ListedVersion, boolean>()
  for (const listed of fleet.pins.versions()) {
    const { bytesLocal, bytesTotal } = progressOf(fleet, listed)
    const found: HeldRow = {
      fleet: fleet.identity.fleet.toString('hex'),
      parcel: listed.parcel,
      version: listed.version,
      time: new Date(listed.time).toISOString(),
      bytes_local: bytesLocal,
      bytes_total: bytesTotal,
      complete: await isWhole(fleet, listed, known)
    }
    const before = rows.get(listed.version)
    if (before === undefined || (found.complete && !before.complete)) {
      rows.set(listed.version, found)
    }
  }
  return [...rows.values()].sort((a, b) => (a.time < b.time ? 1 : -1))
}

function nameOf({ cards }: CacheFleet, publicKey: Buffer): string {
  const card = cards.list().find((known) => known.publicKey.equals(publicKey))
  return card?.name ?? publicKey.toString('hex').slice(0, 6)
}
