/** stats: counters and gauges. */
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import type { PeerCounters } from '../../net/counters.ts'
import type { PeerStatus } from '../../net/peer.ts'
import type { Params, Result } from '../api.ts'
import type { Traffic } from '../api-versions.ts'
import { headVersion } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
import { bytesLocal, roundMs } from './look.ts'
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
    sources: node.sources.list().map((source) => ({
      name: source.name,
      kind: source.kind,
      bytes_received: source.bytesIn,
      bytes_sent: source.bytesOut,
      received_per_second: source.perSecondIn,
      sent_per_second: source.perSecondOut
    })),
    transfers: node.transfers.list().map((transfer) => ({
      parcel: transfer.parcel,
      version: transfer.version,
      why: transfer.why,
      bytes_done: transfer.bytesDone,
      bytes_total: transfer.bytesTotal,
      per_second: transfer.perSecond,
      eta_ms: transfer.etaMs,
      sources: transfer.sources
    })),
    packs: {
      made: node.rehearsals.made,
      cancelled: node.rehearsals.cancelled,
      failed: node.rehearsals.failed,
      bad: node.packs.badSeen
    },
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

function peers({ network, registry }: FleetNode): Result<'stats'>['peers'] {
  return network.peers().map((peer) => peerRow(peer, registry.nameOf(peer.publicKey)))
}

export function peerRow(peer: PeerStatus, name: string): Result<'stats'>['peers'][0] {
  return {
    name,
    rtt_ms: roundMs(peer.rttMs),
    path: peer.kind,
    bytes_received: peer.bytesIn,
    bytes_sent: peer.bytesOut,
    blocks_received: peer.blocksIn,
    block_bytes_received: peer.blockBytesIn,
    demand_bytes_received: peer.demandBytesIn,
    blocks_sent: peer.blocksOut,
    block_bytes_sent: peer.blockBytesOut,
    blocks_wasted: peer.blocksWasted,
    hedges: peer.hedges,
    hedges_won: peer.hedgesWon,
    rate_down: peer.rateDown,
    base_rtt_ms: roundMs(peer.baseRttMs),
    lan: traffic(peer.byKind.lan),
    wan: traffic(peer.byKind.wan)
  }
}

function traffic(counters: PeerCounters): Traffic {
  const { bytesIn, bytesOut, blocksIn, blocksOut } = counters
  return {
    bytes_received: bytesIn,
    bytes_sent: bytesOut,
    blocks_received: blocksIn,
    blocks_sent: blocksOut
  }
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
      waiting_ms: runner.host.waiting()?.ms ?? 0,
      faults: runner.host.remote.faults,
      stalled_ms: Math.round(runner.host.remote.stalledMs),
      faults_in_pack: runner.host.packReads.faults,
      faults_in_pack_ms: Math.round(runner.host.packReads.stalledMs),
      answer_bytes: status?.answerBytes ?? null
    })
  }
  return found
}

function sum<T>(items: T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0)
}
