/**
 * One Hyperswarm and one `Lan` for the daemon. A connection's Noise key is the device key, so a connection proves
 * who it is, whichever way it came.
 *
 * Who calls whom: hyperswarm or Lan ─connection▶ Network ─▶ Peers ─▶ Peer ─▶ Link (fetch channel: Source for the
 * Fetcher, PeerServer; calls). Candidates get no Peer: on their connections only blind-pairing (attached to
 * `pairingSwarm`) answers.
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
import type { Endpoint } from '../format/lan.ts'
import type { LogStore } from '../store/log-store.ts'
import type { BlockFetcher, FetchPriority, Log } from '../store/ports.ts'
import { Admission } from './admission.ts'
import type { PeerReply } from './calls.ts'
import { unreachable, type PeerHandlers } from './calls.ts'
import { Candidates } from './candidates.ts'
import type { LinkKind } from './counters.ts'
import { Fetcher } from './fetcher.ts'
import type { Limits } from './limits.ts'
import type { LanIdentity, LanTarget } from './lan/hello.ts'
import { Lan } from './lan/lan.ts'
import { Locals } from './local-source.ts'
import { PairingSwarm } from './pairing-swarm.ts'
import type { Peer, PeerStatus } from './peer.ts'
import { Peers } from './peers.ts'
import { Reconnector } from './reconnect.ts'
import type { Source } from './source.ts'

/** Of our DHT socket and of TCP on local networks; others where taken. `hyperparcel dht` has HyperDHT's own default. */
const PORT = 49757
const CALL_TIMEOUT_MS = 10_000
/** A polite goodbye to a DHT that does not answer may take that long. */
const DESTROY_MS = 1000

export interface LocalNetworkOptions {
  /** Names of the only ones to use; else all with a private address. With a DHT on loopback: loopback alone. */
  interfaces?: string[]
  /** Other names under which this device can be called, by candidates. */
  identities?(): LanIdentity[]
  /** Who is looked for, besides the fleet's devices. */
  targets?(): LanTarget[]
}

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
  /** A peer got a block. */
  onserved?(log: Buffer, block: number): void
  handlers?: PeerHandlers
  /** Find and call devices on local networks; null or absent: Hyperswarm alone. */
  lan?: LocalNetworkOptions | null
  clock?: Clock
  /** How long a candidate may stay connected, milliseconds. */
  candidateMs?: number
}

export type { PeerStatus } from './peer.ts'

export interface CallOptions {
  attachment?: Buffer
  /** For connecting and answering together. */
  timeoutMs?: number
  signal?: AbortSignal
}

export class Network extends ReadyResource {
  swarm!: Hyperswarm
  /** For blind-pairing. */
  pairingSwarm!: PairingSwarm
  /** What lies nearby and has blocks. */
  readonly locals: Locals
  readonly #opts: NetworkOptions
  readonly #clock: Clock
  readonly #admission: Admission
  readonly #fetcher: Fetcher
  readonly #reconnector: Reconnector
  readonly #peers: Peers
  readonly #lan: Lan | null
  readonly #candidates: Candidates
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
    this.#candidates = new Candidates(this.#admission, opts.candidateMs)
    this.#fetcher = new Fetcher({
      store: opts.store,
      clock: this.#clock,
      onviolation: (source, err) => this.#misbehaved(source.key, err),
      onconflict: (log, source: Source) => this.emit('conflict', log, source.key)
    })
    this.#lan = opts.lan == null ? null : this.#createLan(opts.lan)
    this.#peers = new Peers({
      ownKey: opts.keyPair.publicKey,
      store: opts.store,
      fetcher: this.#fetcher,
      handlers: opts.handlers ?? {},
      clock: this.#clock,
      mayServe: (peer, log) => opts.mayServe(peer, log),
      onserved: opts.onserved,
      endpoints: () => this.lanEndpoints,
      onendpoints: (publicKey, endpoints) => this.#lan?.told(publicKey, endpoints),
      onadd: (publicKey) => this.emit('peer-add', publicKey),
      onremove: (publicKey) => {
        this.emit('peer-remove', publicKey)
        this.#reconnector.wake()
      },
      onlost: (publicKey, kind) => {
        if (kind === 'lan') this.#lan?.lost(publicKey)
      },
      onviolation: (publicKey, err) => this.#misbehaved(publicKey, err)
    })
    this.locals = new Locals(this.#fetcher)
    this.#reconnector = new Reconnector({
      clock: this.#clock,
      missing: () => this.#missing(),
      waiting: () => this.#fetcher.waiting,
      connect: (publicKey) => this.swarm.joinPeer(publicKey),
      refresh: () => void this.#discovery?.refresh().catch(safetyCatch)
    })
    this.#onlog = (log) => {
      this.#peers.onlog(log)
      if (log.writable) this.#fetcher.watch(log.key).catch(safetyCatch)
    }
  }

  /** What transfers may take. */
  get limits(): Limits {
    return this.#fetcher.limits
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
    this.pairingSwarm = new PairingSwarm(this.swarm)
    this.swarm.on('connection', (connection: Connection) => this.#onconnection(connection, 'wan'))
    this.swarm.on('ban', (info: PeerInfo) => this.#forget(info))
    store.on('log', this.#onlog)
    // Peers may know more of an own log than we do: ask them about all.
    for (const log of await store.ownLogs()) this.#onlog(log)
    if (this.#topic !== null) this.#join(this.#topic)
    this.#reconnector.start()
    this.#lan?.open()
  }

  protected override async _close(): Promise<void> {
    this.#reconnector.stop()
    this.locals.close()
    this.#fetcher.close()
    this.#opts.store.off('log', this.#onlog)
    this.#lan?.close()
    this.#peers.close()
    this.#candidates.close()
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

  /** Where this device can be called on local networks. */
  get lanEndpoints(): Endpoint[] {
    return this.#lan?.endpoints() ?? []
  }

  /** Fleet devices that are connected, each once. */
  peers(): PeerStatus[] {
    return this.#peers.status()
  }

  /** Since this was opened, with peers that are gone too. */
  get traffic(): Pick<Peers, 'counted' | 'totals'> {
    return this.#peers
  }

  isConnected(publicKey: Buffer): boolean {
    return this.#peers.get(publicKey)?.calls != null
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
    for (const [connection, kind] of this.#candidates.promote()) this.#peers.add(connection, kind)
    for (const peer of this.#peers.list()) {
      if (this.#opts.isMember(peer.key)) peer.refresh()
      else {
        this.swarm.leavePeer(peer.key)
        this.#peers.drop(peer.key)
      }
    }
    this.#reconnector.wake()
    this.#lan?.wake()
  }

  /** By which names this device can be called on local networks has changed. */
  identitiesChanged(): void {
    this.#lan?.identitiesChanged()
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

  /** Connected devices, and what lies nearby, that have all of [start, end) of a log durably. */
  holders(key: Buffer, start: number, end: number): Buffer[] {
    return this.#fetcher.holders(key, start, end)
  }

  #join(topic: Buffer): void {
    this.#discovery = this.swarm.join(topic, { client: true, server: true })
  }

  #onconnection(connection: Connection, kind: LinkKind, hasInvite = false): void {
    connection.on('error', () => {})
    const role = this.#admission.roleOf(connection.remotePublicKey, hasInvite)
    if (role === 'stranger') {
      connection.destroy()
      return
    }
    if (role === 'member') this.#peers.add(connection, kind)
    else this.#candidates.add(connection, kind)
    this.pairingSwarm.add(connection)
  }

  #createLan({ interfaces, identities, targets }: LocalNetworkOptions): Lan {
    const { keyPair, bootstrap } = this.#opts
    const others = () => this.#others().map((publicKey) => ({ secret: this.#topic!, publicKey }))
    return new Lan({
      keyPair,
      choice: isOnLoopback(bootstrap) ? 'loopback' : (interfaces ?? 'private'),
      port: PORT,
      clock: this.#clock,
      identities: () => {
        const own = this.#topic === null ? [] : [{ secret: this.#topic, keyPair }]
        return [...own, ...(identities?.() ?? [])]
      },
      targets: () => [...(this.#topic === null ? [] : others()), ...(targets?.() ?? [])],
      isLinked: (key) => this.#peers.get(key)?.has('lan') ?? this.#candidates.has(key),
      onconnection: (connection, as) =>
        this.#onconnection(connection, 'lan', as !== null && as.keyPair !== keyPair),
      onstations: () => this.#peers.tellEndpoints(),
      onproblem: (err) => this.emit('warning', err)
    })
  }

  #misbehaved(publicKey: Buffer, err: HyperparcelError): void {
    if (this.locals.fail(publicKey, err)) return
    if (this.#peers.get(publicKey) === undefined) return
    this.#admission.punish(publicKey)
    this.#peers.drop(publicKey)
    this.emit('misbehaved', publicKey, err)
  }

  /** Hyperswarm remembers whom the firewall rejected, for ever. */
  #forget(info: PeerInfo): void {
    info.ban(false)
    this.swarm.leavePeer(info.publicKey)
    this.swarm.peers.delete(info.publicKey.toString('hex'))
  }

  #missing(): Buffer[] {
    return this.#others().filter((key) => this.#peers.get(key) === undefined)
  }

  /** Devices to be connected with. */
  #others(): Buffer[] {
    const self = this.#opts.keyPair.publicKey
    const members = this.#opts.members?.() ?? []
    return members.filter((key) => !key.equals(self) && !this.#admission.shunned(key))
  }

  #connected(publicKey: Buffer, signal: AbortSignal): Promise<Peer> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const peer = this.#peers.get(publicKey)
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
}

/** With a DHT on this machine alone, nothing of ours listens to or talks with anything else. */
function isOnLoopback(bootstrap: Address[] | undefined): bootstrap is Address[] {
  if (bootstrap === undefined || bootstrap.length === 0) return false
  return bootstrap.every((address) =>
    (typeof address === 'string' ? address : address.host).startsWith('127.')
  )
}
