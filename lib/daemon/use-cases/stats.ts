/** stats: counters and gauges. */
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import type { Params, Result } from '../api.ts'
import { headVersion } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
import { bytesLocal } from './look.ts'
import { diskUsage } from './status.ts'

export async function stats(node: FleetNode, params: Params<'stats'>): Promise<Result<'stats'>> {
  const parcels = params.name === undefined ? node.registry.parcels() : [node.parcel(params.name)]
  const versions = parcels.flatMap(({ id }) => node.registry.versions(id))
  const bytesTotal = sum(versions, (info) => info.bytesTotal)
  const bytesNew = sum(versions, (info) => info.bytesNew)
  return {
    parcel: params.name ?? null,
    parcels: parcels.length,
    versions: versions.length,
    bytes_total: bytesTotal,
    bytes_new: bytesNew,
    bytes_packed: await packed(node, versions),
    dedup_ratio: bytesNew === 0 ? null : Math.round((bytesTotal / bytesNew) * 100) / 100,
    bytes_local: await localBytes(node, parcels),
    bytes_stored: await diskUsage(node.paths.store),
    chunks_indexed: node.index.chunks,
    logs: (await node.store.list()).length,
    peers: peers(node),
    running: await running(node, parcels)
  }
}

/** What the versions added as it is stored, of those whose records are here. */
async function packed(node: FleetNode, versions: VersionInfo[]): Promise<number> {
  let bytes = 0
  for (const info of versions) {
    const opened = await node.versions.record(info, { local: true }).catch(() => null)
    bytes += opened?.record.bytesStored ?? 0
  }
  return bytes
}

async function localBytes(node: FleetNode, parcels: ParcelInfo[]): Promise<number> {
  let bytes = 0
  for (const { id } of parcels) {
    const head = headVersion(node, id)
    if (head !== null) bytes += await bytesLocal(node, head)
  }
  return bytes
}

function peers(node: FleetNode): Result<'stats'>['peers'] {
  return node.network.peers().map((peer) => ({
    name: node.registry.nameOf(peer.publicKey),
    rtt_ms: peer.rttMs,
    bytes_received: peer.bytesIn,
    bytes_sent: peer.bytesOut,
    blocks_received: peer.blocksIn,
    block_bytes_received: peer.blockBytesIn,
    demand_bytes_received: peer.demandBytesIn,
    blocks_sent: peer.blocksOut,
    block_bytes_sent: peer.blockBytesOut,
    blocks_wasted: peer.blocksWasted
  }))
}

async function running(
  node: FleetNode,
  parcels: ParcelInfo[]
): Promise<Result<'stats'>['running']> {
  const found: Result<'stats'>['running'] = []
  for (const parcel of parcels) {
    const runner = node.runners.get(parcel.id)
    if (runner === null) continue
    const status = await runner.process.call('status', null).catch(() => runner.status)
    found.push({
      parcel: parcel.name,
      state: status?.state ?? 'starting',
      dirty_bytes: status?.dirtyBytes ?? 0,
      ahead_bytes: status?.aheadBytes ?? 0,
      bytes_fetched: runner.host.fetchedBytes,
      waiting_ms: runner.host.waiting()?.ms ?? 0
    })
  }
  return found
}

function sum<T>(items: T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0)
}
