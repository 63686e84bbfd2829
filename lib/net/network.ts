/**
 * One Hyperswarm for the daemon. The connection's Noise key is the device key, so a connection proves who it is.
 *
 * Who calls whom: hyperswarm ─connection▶ Network ─▶ Peer (fetch channel: Source for the Fetcher, PeerServer;
 * calls). Candidates get no Peer: on their connections only blind-pairing (attached to `swarm`) answers.
 *
 * Invariants
 * - A stranger gets no connection: the firewall rejects it, without remembering it (a remembered rejection
 *   would outlast its admission, and strangers would fill the memory).
 * - A peer that breaks the protocol loses its connection at once and is refused for a while.
 *
 * Events: `peer-add` (publicKey) when calls and fetches can be made, `peer-remove` (publicKey),
 * `conflict` (log key, publicKey), `misbehaved` (publicKey, err), `warning` (err).
 */
import Hyperswarm, { type Connection, type Discovery, type PeerInfo } from 'hyperswarm'
import HyperDHT, { type Address, type KeyPair } from 'hyperdht'
import ReadyResource from 'ready-resource'
import safetyCatch from 'safety-catch'
import { withDeadline } from '../base/deadline.ts'
import { systemClock, type Clock } from '../base/clock.ts'
import type { HyperparcelError } from '../base/errors.ts'
import type { LogStore } from '../store/log-store.ts'
import type { BlockFetcher, FetchPriority, Log } from '../store/ports.ts'
import { Admission } from './admission.ts'
import type { PeerReply } from './calls.ts'
import { unreachable, type PeerHandlers } from './calls.ts'
import { createCounters, type PeerCounters } from './counters.ts'
import { Fetcher } from './fetcher.ts'
import { Peer } from './peer.ts'
import { Reconnector } from './reconnect.ts'
import type { Source } from './source.ts'

/** A candidate that did not become a device by then is disconnected. */
/** Of our DHT socket, or another one where it is taken. Not HyperDHT's own default, which `hyperparcel dht` listens on. */
const PORT = 49757
const CANDIDATE_MS = 60_000
const CALL_TIMEOUT_MS = 10_000
/** A polite goodbye to a DHT that does not answer may take that long. */
const DESTROY_MS = 1000

export interface NetworkOptions {
  /** The device key. */
  keyPair: KeyPair
  /** 32 bytes that only the fleet knows; null before there is a fleet. */
  topic: Buffer | null
  /** A private DHT; the public one otherwise. */
  bootstrap?: Address[]
  store: LogStore
  isMember(publicKey: Buffer): boolean
  /** Devices to stay connected with. Those found through the topic are connected anyway. */
  members?(): Buffer[]
  /** While true, unknown candidates get connections for pairing. */
  pairingOpen?(): boolean
  /** Which logs a fleet device may have. */
  mayServe(peer: Buffer, log: Buffer): boolean
  handlers?: PeerHandlers
  clock?: Clock
  /** How long a candidate may stay connected, milliseconds. */
  candidateMs?: number
}

export interface PeerStatus extends PeerCounters {
  publicKey: Buffer
  /** Null before anything was measured. */
  rttMs: number | null
  /** Milliseconds since the epoch. */
  connectedAt: number
}

export interface CallOptions {
  attachment?: Buffer
  /** For connecting and answering together. */
  timeoutMs?: number
  signal?: AbortSignal
}

export class Network extends ReadyResource {
  /** For blind-pairing. */
  swarm!: Hyperswarm
  readonly #opts: NetworkOptions
  readonly #clock: Clock
  readonly #admission: Admission
  readonly #fetcher: Fetcher
  readonly #reconnector: Reconnector
  readonly #peers = new Map<string, Peer>()
  readonly #candidates = new Map<Connection, NodeJS.Timeout>()
  readonly #counters = new Map<string, PeerCounters>()
  readonly #onlog: (log: Log) => void
  #topic: Buffer | null
  #discovery: Discovery | null = null

  constructor(opts: NetworkOptions) {
    super()
    this.setMaxListeners(0)
    this.#opts = opts
    this.#clock = opts.clock ?? systemClock
    this.#topic = opts.topic
    this.#admission = new Admission({
      isMember: opts.isMember,
      pairingOpen: () => opts.pairingOpen?.() ?? false,
      clock: this.#clock
    })
    this.#fetcher = new Fetcher({
      store: opts.store,
      clock: this.#clock,
      onviolation: (source, err) => this.#misbehaved(source.key, err),
      onconflict: (log, source: Source) => this.emit('conflict', log, source.key)
    })
    this.#reconnector = new Reconnector({
      clock: this.#clock,
      missing: () => this.#missing(),
      waiting: () => this.#fetcher.waiting,
      connect: (publicKey) => this.swarm.joinPeer(publicKey),
      refresh: () => void this.#discovery?.refresh().catch(safetyCatch)
    })
    this.#onlog = (log) => {
      for (const peer of this.#peers.values()) peer.server?.onlog(log)
      if (log.writable) this.#fetcher.watch(log.key).catch(safetyCatch)
    }
  }

  get fetcher(): BlockFetcher {
    return this.#fetcher
  }

  protected override async _open(): Promise<void> {
    const { keyPair, bootstrap, store } = this.#opts
    await store.ready()
    this.swarm = new Hyperswarm({
      keyPair,
      bootstrap,
      port: PORT,
      ...(isOnLoopback(bootstrap)
        ? { dht: new HyperDHT({ bootstrap, host: '127.0.0.1', port: PORT }) }
        : {}),
      firewall: (publicKey) => this.#admission.roleOf(publicKey) === 'stranger'
    })
    this.swarm.on('connection', (connection: Connection) => this.#onconnection(connection))
    this.swarm.on('ban', (info: PeerInfo) => this.#forget(info))
    store.on('log', this.#onlog)
    // Peers may know more of an own log than we do: ask them about all.
    for (const log of await store.ownLogs()) this.#onlog(log)
    if (this.#topic !== null) this.#join(this.#topic)
    this.#reconnector.start()
  }

  protected override async _close(): Promise<void> {
    this.#reconnector.stop()
    this.#fetcher.close()
    this.#opts.store.off('log', this.#onlog)
    for (const peer of this.#peers.values()) peer.close()
    for (const timer of this.#candidates.values()) clearTimeout(timer)
    if (!this.opened) return
    const polite = await Promise.race([
      this.swarm.destroy().then(
        () => true,
        () => false
      ),
      this.#clock.sleep(DESTROY_MS).then(() => false)
    ])
    if (!polite) await this.swarm.destroy({ force: true })
  }

  /** Fleet devices that are connected. */
  peers(): PeerStatus[] {
    return [...this.#peers.values()].map((peer) => {
      this.#countBytes(peer)
      const { key: publicKey, rttMs, connectedAt, counters } = peer
      return { publicKey, rttMs, connectedAt, ...counters }
    })
  }

  /** With all peers since this was opened, those that are gone too. */
  totals(): PeerCounters {
    for (const peer of this.#peers.values()) this.#countBytes(peer)
    const totals = createCounters()
    for (const counters of this.#counters.values()) {
      for (const name of Object.keys(totals) as (keyof PeerCounters)[]) {
        totals[name] += counters[name]
      }
    }
    return totals
  }

  isConnected(publicKey: Buffer): boolean {
    return this.#peers.get(publicKey.toString('hex'))?.calls != null
  }

  /** This device belongs to a fleet from now on, or to another. */
  async joinTopic(topic: Buffer): Promise<void> {
    const before = this.#topic
    this.#topic = topic
    if (!this.opened) return
    if (before !== null && !before.equals(topic)) await this.swarm.leave(before)
    this.#join(topic)
  }

  /** Who is a member, or what a peer may have, has changed: acts on it now. */
  membersChanged(): void {
    for (const [connection, timer] of this.#candidates) {
      if (this.#admission.roleOf(connection.remotePublicKey) !== 'member') continue
      clearTimeout(timer)
      this.#dropCandidate(connection)
      this.#addPeer(connection)
    }
    for (const peer of this.#peers.values()) {
      if (!this.#opts.isMember(peer.key)) {
        this.swarm.leavePeer(peer.key)
        peer.connection.destroy()
      } else peer.server?.refresh()
    }
    this.#reconnector.wake()
  }

  /**
   * Asks a device. Waits for a connection and the answer, `timeoutMs` in all. Rejects with `PEER_UNREACHABLE`,
   * the far side's error, or the signal's reason.
   */
  async call<T = unknown>(
    publicKey: Buffer,
    method: string,
    params: unknown,
    opts: CallOptions = {}
  ): Promise<T> {
    return (await this.callRaw(publicKey, method, params, opts)).json as T
  }

  /** As `call`, with the bytes that came with the answer. */
  async callRaw(
    publicKey: Buffer,
    method: string,
    params: unknown,
    { attachment, timeoutMs, signal }: CallOptions = {}
  ): Promise<PeerReply> {
    const call = async (either: AbortSignal) => {
      const peer = await this.#connected(publicKey, either)
      return peer.calls!.call(method, params, attachment ?? Buffer.alloc(0), either)
    }
    return withDeadline(timeoutMs ?? CALL_TIMEOUT_MS, signal, call, unreachable)
  }

  /** Keeps a log's signed length and all its blocks up to date from any peer. */
  followLog(key: Buffer, priority: FetchPriority = 'demand'): Promise<void> {
    return this.#fetcher.follow(key, priority)
  }

  unfollowLog(key: Buffer): Promise<void> {
    return this.#fetcher.unfollow(key)
  }

  /** Resolves when the signed length known here is at least `length`. Waits without limit, unless aborted. */
  ensureLength(key: Buffer, length: number, signal?: AbortSignal): Promise<void> {
    return this.#fetcher.ensureLength(key, length, signal)
  }

  /** Connected devices that have all of [start, end) of a log durably. */
  holders(key: Buffer, start: number, end: number): Buffer[] {
    return this.#fetcher.holders(key, start, end)
  }

  #join(topic: Buffer): void {
    this.#discovery = this.swarm.join(topic, { client: true, server: true })
  }

  #onconnection(connection: Connection): void {
    connection.on('error', () => {})
    const role = this.#admission.roleOf(connection.remotePublicKey)
    if (role === 'member') this.#addPeer(connection)
    else if (role === 'candidate') this.#addCandidate(connection)
    else connection.destroy()
  }

  #addCandidate(connection: Connection): void {
    this.#admission.candidates++
    const timer = setTimeout(
      () => connection.destroy(),
      this.#opts.candidateMs ?? CANDIDATE_MS
    ).unref()
    this.#candidates.set(connection, timer)
    connection.on('close', () => this.#dropCandidate(connection))
  }

  #dropCandidate(connection: Connection): void {
    const timer = this.#candidates.get(connection)
    if (timer === undefined) return
    clearTimeout(timer)
    this.#candidates.delete(connection)
    this.#admission.candidates--
  }

  #addPeer(connection: Connection): void {
    const id = connection.remotePublicKey.toString('hex')
    const before = this.#peers.get(id)
    if (before !== undefined) this.#removePeer(id, before)
    let counters = this.#counters.get(id)
    if (counters === undefined) this.#counters.set(id, (counters = createCounters()))
    const peer = new Peer({
      connection,
      connectedAt: this.#clock.now(),
      store: this.#opts.store,
      fetcher: this.#fetcher,
      handlers: this.#opts.handlers ?? {},
      counters,
      mayServe: (log) => this.#opts.mayServe(connection.remotePublicKey, log),
      onready: () => this.emit('peer-add', peer.key),
      onviolation: (err) => this.#misbehaved(connection.remotePublicKey, err)
    })
    this.#peers.set(id, peer)
    connection.on('close', () => this.#removePeer(id, peer))
  }

  #removePeer(id: string, peer: Peer): void {
    if (this.#peers.get(id) !== peer) return
    this.#countBytes(peer)
    this.#peers.delete(id)
    peer.close()
    this.emit('peer-remove', peer.key)
    this.#reconnector.wake()
  }

  #misbehaved(publicKey: Buffer, err: HyperparcelError): void {
    const id = publicKey.toString('hex')
    const peer = this.#peers.get(id)
    if (peer === undefined) return
    this.#admission.punish(publicKey)
    this.#removePeer(id, peer)
    peer.connection.destroy()
    this.emit('misbehaved', peer.key, err)
  }

  /** Hyperswarm remembers whom the firewall rejected, for ever. */
  #forget(info: PeerInfo): void {
    info.ban(false)
    this.swarm.leavePeer(info.publicKey)
    this.swarm.peers.delete(info.publicKey.toString('hex'))
  }

  #missing(): Buffer[] {
    const members = this.#opts.members?.() ?? []
    return members.filter((key) => {
      if (key.equals(this.#opts.keyPair.publicKey)) return false
      return !this.#peers.has(key.toString('hex')) && !this.#admission.shunned(key)
    })
  }

  #connected(publicKey: Buffer, signal: AbortSignal): Promise<Peer> {
    const id = publicKey.toString('hex')
    return new Promise((resolve, reject) => {
      const look = () => {
        const peer = this.#peers.get(id)
        if (peer?.calls == null) return false
        stop()
        resolve(peer)
        return true
      }
      const onabort = () => (stop(), reject(signal.reason as Error))
      const stop = () => {
        this.off('peer-add', look)
        signal.removeEventListener('abort', onabort)
      }
      if (signal.aborted || this.closing || !this.opened)
        return reject(signal.reason ?? unreachable())
      if (look()) return
      signal.addEventListener('abort', onabort, { once: true })
      this.on('peer-add', look)
      this.swarm.joinPeer(publicKey)
    })
  }

  #countBytes(peer: Peer): void {
    const { connection, counters } = peer
    counters.bytesIn += connection.rawBytesRead - peer.bytesIn
    counters.bytesOut += connection.rawBytesWritten - peer.bytesOut
    peer.bytesIn = connection.rawBytesRead
    peer.bytesOut = connection.rawBytesWritten
  }
}

/** With a DHT on this machine alone, nothing of ours listens to or talks with anything else. */
function isOnLoopback(bootstrap: Address[] | undefined): bootstrap is Address[] {
  if (bootstrap === undefined || bootstrap.length === 0) return false
  return bootstrap.every((address) =>
    (typeof address === 'string' ? address : address.host).startsWith('127.')
  )
}
