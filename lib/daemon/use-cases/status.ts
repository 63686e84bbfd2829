/** The device at a glance, and its settings. */
import { readFileSync } from 'node:fs'
import { readdir, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import type { StatusResult } from '../api-status.ts'
import type { PeerCounters } from '../../net/counters.ts'
import type { Params, Result } from '../api.ts'
import { transferLimits } from '../config.ts'
import type { Daemon } from '../daemon.ts'
import type { FleetNode } from '../node.ts'
import { orderRows } from './look.ts'

/** The version in package.json, two levels above the built file's folder or three above the source's. */
const PROGRAM_VERSION = readProgramVersion()

export function daemonStatus(daemon: Daemon): Result<'daemon.status'> {
  const node = daemon.nodeOrNull
  const address = null
  const cache = daemon.cacheOrNull?.fleets() ?? []
  const networks = node === null ? cache.map(({ network }) => network) : [node.network]
  const traffic = networks.map((network) => network.traffic.totals())
  const sum = (of: (totals: PeerCounters) => number) =>
    traffic.reduce((bytes, totals) => bytes + of(totals), 0)
  return {
    pid: process.pid,
    program_version: PROGRAM_VERSION,
    home: daemon.paths.home,
    device: node?.registry.name ?? cache[0]?.identity.name ?? null,
    fleet: (node ?? (cache.length === 1 ? cache[0] : null))?.identity.fleet.toString('hex') ?? null,
    peers: networks.reduce((count, network) => count + network.peers().length, 0),
    address,
    bytes_received: sum((totals) => totals.bytesIn),
    bytes_sent: sum((totals) => totals.bytesOut),
    block_bytes_received: sum((totals) => totals.blockBytesIn),
    demand_bytes_received: sum((totals) => totals.demandBytesIn),
    started: new Date(daemon.started).toISOString()
  }
}

export async function status(daemon: Daemon): Promise<Result<'status'>> {
  const node = daemon.nodeOrNull
  const peers = node?.network.peers() ?? []
  const { bavail, bsize } = await statfs(daemon.paths.home)
  const running = (node?.runners.list() ?? []).filter((runner) => runner.purpose === 'vm')
  return {
    device: node?.registry.name ?? null,
    fleet: node?.identity.fleet.toString('hex') ?? null,
    role: node?.identity.role ?? null,
    home: daemon.paths.home,
    peers: peers.length,
    online: peers.map(({ publicKey }) => node!.registry.nameOf(publicKey)),
    running: running.map(({ parcel }) => node!.registry.parcel(parcel)?.name ?? ''),
    orders: node === null ? [] : orderRows(node),
    bytes_stored: await diskUsage(daemon.paths.store),
    bytes_free: bavail * bsize,
    conflicts: conflicts(node),
    low_space: (await node?.lowSpace.look()) ?? undefined
  }
}

/** Logs of which two histories were seen; absent where there are none. */
function conflicts(node: FleetNode | null): StatusResult['conflicts'] {
  const found = node?.contradictions.list() ?? []
  if (found.length === 0) return undefined
  return found.map(({ log, device, seen, lengths }) => {
    const owner = node!.registry.logOwner(log)
    const author =
      owner?.device ?? node!.registry.registryLogs().find((known) => known.log.equals(log))?.device
    return {
      log: log.toString('hex'),
      parcel: owner === null ? null : (node!.registry.parcel(owner.parcel)?.name ?? null),
      author: author == null ? null : node!.registry.nameOf(author),
      shown_by: node!.registry.nameOf(device),
      lengths,
      seen: new Date(seen).toISOString()
    }
  })
}

export async function config(
  daemon: Daemon,
  { key, value }: Params<'config'>
): Promise<Result<'config'>> {
  if (key !== undefined && value !== undefined) {
    await daemon.config.setText(key, value)
    daemon.nodeOrNull?.network.limits.set(transferLimits(daemon.config.settings))
  }
  if (key !== undefined) return { config: { [key]: daemon.config.get(key) } }
  return { config: daemon.config.settings }
}

/** Bytes on disk of everything in a directory. */
export async function diskUsage(directory: string): Promise<number> {
  let bytes = 0
  const entries = await readdir(directory, { withFileTypes: true, recursive: true })
  for (const entry of entries) {
    if (!entry.isFile()) continue
    const found = await stat(path.join(entry.parentPath, entry.name)).catch(() => null)
    bytes += (found?.blocks ?? 0) * 512
  }
  return bytes
}

function readProgramVersion(): string {
  const file = new URL('../../../../package.json', import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}
