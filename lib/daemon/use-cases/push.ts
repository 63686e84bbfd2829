/** push: another device fetches all of the newest version, and of those to come where that becomes a standing order. */
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../../base/errors.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import type { Params, Result } from '../api.ts'
import { headVersion } from '../versions/heads.ts'
import { awaitPeer } from '../peers/news.ts'
import type { FleetNode } from '../node.ts'
import type { FetchState } from '../versions/proactive.ts'
import type { UseCaseContext } from './context.ts'
import { recipient } from './hand-over.ts'
import { sayWhile } from './say-while.ts'

const FIND_PEER_MS = 8000
const POLL_MS = 500
/** It may not have heard of the version yet. */
const NEWS_MS = 20_000
/** Nothing more of it arrived there for that long. */
const STALL_MS = 60_000

export async function push(
  node: FleetNode,
  params: Params<'push'>,
  context: UseCaseContext
): Promise<Result<'push'>> {
  const parcel = node.parcel(params.name)
  const to = recipient(node, params.to)!
  const info = headVersion(node, parcel.id)
  if (info === null) {
    throw new HyperparcelError('VERSION_NOT_FOUND', `${parcel.name} has no version here yet`)
  }
  const base = { parcel: parcel.name, version: info.number, to: params.to }
  if (params.unfollow === true) {
    await node.orders.end(parcel.id, 'push', to)
    const online = node.network.isConnected(to)
    return { ...base, bytes_sent: 0, bytes_missing: 0, following: false, online }
  }
  if (params.follow === true) await node.orders.renew(parcel.id, 'push', to)
  const ordered = () =>
    node.orders.active('push', parcel.id).some(({ device }) => device.equals(to))
  if (!(await isThere(node, to, params.to, context))) {
    if (!ordered()) throw notOnline(parcel, params.to)
    const bytes = info.bytesTotal
    return { ...base, bytes_sent: 0, bytes_missing: bytes, following: true, online: false }
  }
  const sent = await send(node, parcel, info, to, params.to, context)
  return { ...base, bytes_sent: sent, bytes_missing: 0, following: ordered(), online: true }
}

async function isThere(
  node: FleetNode,
  to: Buffer,
  name: string,
  context: UseCaseContext
): Promise<boolean> {
  if (node.network.isConnected(to)) return true
  return sayWhile(context, `looking for ${name}`, [name], () =>
    awaitPeer(node, () => node.network.isConnected(to), FIND_PEER_MS, context.signal)
  )
}

/** Asks again and again, until it has all of it. Resolves with what it lacked of the version, bytes. */
async function send(
  node: FleetNode,
  parcel: ParcelInfo,
  info: VersionInfo,
  to: Buffer,
  name: string,
  { signal, progress }: UseCaseContext
): Promise<number> {
  const began = performance.now()
  let first: FetchState | null = null
  let last: FetchState | null = null
  let aliveAt = began
  const missing = (state: FetchState | null) =>
    state === null ? info.bytesTotal : state.bytesTotal - state.bytesLocal
  for (;;) {
    const state = await node.peerApi.requestFetch(to, info, signal).catch((err: unknown) => {
      signal.throwIfAborted()
      const { code } = err as { code?: string }
      if (code === 'VERSION_NOT_FOUND' && performance.now() - began < NEWS_MS) return null
      if (code === 'PEER_UNREACHABLE') throw notOnline(parcel, name, missing(last))
      throw err
    })
    if (state === null) {
      progress({
        phase: `waiting until ${name} has heard of version ${info.number}`,
        peers: [name]
      })
    } else {
      first ??= state
      if (state.bytesLocal !== last?.bytesLocal) aliveAt = performance.now()
      last = state
      const total = missing(first)
      const done = state.holds ? total : Math.max(0, total - missing(state))
      progress({ phase: `sending to ${name}`, done, total, unit: 'bytes', peers: [name] })
      if (state.holds) {
        node.replicas.note(info, to)
        return total
      }
      if (performance.now() - aliveAt > STALL_MS) throw stalled(parcel, name, missing(state))
    }
    await sleep(POLL_MS, undefined, { signal }).catch(safetyCatch)
    signal.throwIfAborted() // its reason says that it was an interrupt
  }
}

function notOnline(parcel: ParcelInfo, name: string, bytesMissing?: number): HyperparcelError {
  return new HyperparcelError('PEER_UNREACHABLE', `${name} is not online`, {
    hint: `Start the daemon there, or say --follow: then it gets ${parcel.name} when it is online.`,
    context: { parcel: parcel.name, device: name, bytes_missing: bytesMissing }
  })
}

function stalled(parcel: ParcelInfo, name: string, bytesMissing: number): HyperparcelError {
  return new HyperparcelError(
    'DATA_UNREACHABLE',
    `${name} lacks ${bytesMissing} bytes of ${parcel.name}, and no device sends them to it`,
    {
      hint: `Hoard it here first: \`hyperparcel hoard ${parcel.name}\`.`,
      context: { parcel: parcel.name, device: name, bytes_missing: bytesMissing }
    }
  )
}
