/**
 * The fleet devices that are connected, and their links.
 *
 * Invariants
 * - One link over Hyperswarm a device: a newer one takes its place. On a local network two for a moment, when both
 *   called; then one of them goes, once nobody waits for anything over it.
 * - `onadd` when the first link of a device takes calls, `onremove` when its last one is gone.
 */
import type { Connection } from 'hyperswarm'
import type { Clock } from '../base/clock.ts'
import type { HyperparcelError } from '../base/errors.ts'
import type { Endpoint } from '../format/lan.ts'
import type { Log, LogStorePort } from '../store/ports.ts'
import type { PeerHandlers } from './calls.ts'
import { addCounters, createCounters, type LinkKind, type PeerCounters } from './counters.ts'
import type { Fetcher } from './fetcher.ts'
import { Link } from './link.ts'
import {
  Peer,
  createKindCounters,
  surplusLinks,
  type KindCounters,
  type PeerStatus
} from './peer.ts'

/** Until one of two links on a local network goes; and between looks whether it is idle. */
const SURPLUS_MS = 3000

export interface PeersOptions {
  ownKey: Buffer
  store: LogStorePort
  fetcher: Fetcher
  handlers: PeerHandlers
  clock: Clock
  mayServe(peer: Buffer, log: Buffer): boolean
  onserved?: (log: Buffer, block: number) => void
  /** Where this device listens on local networks. */
  endpoints(): Endpoint[]
  onendpoints(publicKey: Buffer, endpoints: Endpoint[]): void
  onadd(publicKey: Buffer): void
  onremove(publicKey: Buffer): void
  /** One of perhaps more. */
  onlost(publicKey: Buffer, kind: LinkKind): void
  onviolation(publicKey: Buffer, err: HyperparcelError): void
}

export class Peers {
  readonly #opts: PeersOptions
  readonly #peers = new Map<string, Peer>()
  readonly #counters = new Map<string, KindCounters>()
  readonly #surplus = new Map<string, NodeJS.Timeout>()

  constructor(opts: PeersOptions) {
    this.#opts = opts
  }

  get(publicKey: Buffer): Peer | undefined {
    return this.#peers.get(publicKey.toString('hex'))
  }

  list(): Peer[] {
    return [...this.#peers.values()]
  }

  status(): PeerStatus[] {
    return this.list().map((peer) => peer.status)
  }

  /** With each peer, those that are gone too. */
  counted(): (PeerCounters & { publicKey: Buffer })[] {
    for (const peer of this.#peers.values()) for (const link of peer.links) link.countBytes()
    return [...this.#counters].map(([key, { lan, wan }]) => {
      const counters = createCounters()
      addCounters(counters, lan)
      addCounters(counters, wan)
      return { ...counters, publicKey: Buffer.from(key, 'hex') }
    })
  }

  /** With all peers, those that are gone too. */
  totals(): PeerCounters {
    for (const peer of this.#peers.values()) for (const link of peer.links) link.countBytes()
    const totals = createCounters()
    for (const { lan, wan } of this.#counters.values()) {
      addCounters(totals, lan)
      addCounters(totals, wan)
    }
    return totals
  }

  add(connection: Connection, kind: LinkKind): void {
    const id = connection.remotePublicKey.toString('hex')
    const peer = this.#peer(id, connection.remotePublicKey)
    const before = peer.links.filter((link) => replaces(connection, kind, link))
    const { store, fetcher, handlers, mayServe, endpoints, onendpoints, onviolation } = this.#opts
    const link = new Link({
      connection,
      kind,
      store,
      fetcher,
      handlers,
      counters: peer.counters[kind],
      mayServe: (log) => mayServe(peer.key, log),
      onserved: this.#opts.onserved,
      endpoints,
      onendpoints: (list) => onendpoints(peer.key, list),
      onready: () => this.#onready(peer, link),
      onviolation: (err) => onviolation(peer.key, err)
    })
    peer.links.push(link)
    for (const old of before) this.#end(id, peer, old)
    connection.on('close', () => this.#remove(id, peer, link))
    if (kind === 'lan') this.#watchSurplus(id, peer)
  }

  /** Ends all links of a device. */
  drop(publicKey: Buffer): void {
    const id = publicKey.toString('hex')
    const peer = this.#peers.get(id)
    for (const link of [...(peer?.links ?? [])]) this.#end(id, peer!, link)
  }

  onlog(log: Log): void {
    for (const peer of this.#peers.values()) for (const { server } of peer.links) server?.onlog(log)
  }

  /** Tells all where this device listens now. */
  tellEndpoints(): void {
    for (const peer of this.#peers.values()) for (const link of peer.links) link.tellEndpoints()
  }

  close(): void {
    for (const timer of this.#surplus.values()) clearTimeout(timer)
    for (const peer of this.#peers.values()) {
      for (const link of peer.links) {
        link.close()
        if (link.kind === 'lan') link.connection.destroy()
      }
    }
  }

  #peer(id: string, publicKey: Buffer): Peer {
    let peer = this.#peers.get(id)
    if (peer !== undefined) return peer
    let counters = this.#counters.get(id)
    if (counters === undefined) this.#counters.set(id, (counters = createKindCounters()))
    peer = new Peer(Buffer.from(publicKey), this.#opts.clock.now(), counters)
    this.#peers.set(id, peer)
    return peer
  }

  #onready(peer: Peer, link: Link): void {
    const others = peer.links.some((other) => other !== link && other.calls !== null)
    if (!others) this.#opts.onadd(peer.key)
  }

  #end(id: string, peer: Peer, link: Link): void {
    this.#remove(id, peer, link)
    link.connection.destroy()
  }

  #remove(id: string, peer: Peer, link: Link): void {
    const at = peer.links.indexOf(link)
    if (at === -1) return
    link.countBytes()
    peer.links.splice(at, 1)
    link.close()
    if (peer.links.length === 0) {
      this.#peers.delete(id)
      this.#opts.onremove(peer.key)
    }
    this.#opts.onlost(peer.key, link.kind)
  }

  #watchSurplus(id: string, peer: Peer): void {
    if (this.#surplus.has(id) || surplusLinks(peer.links, this.#opts.ownKey).length === 0) return
    const timer = setTimeout(() => {
      this.#surplus.delete(id)
      const surplus = surplusLinks(peer.links, this.#opts.ownKey)
      for (const link of surplus) if (link.idle) this.#end(id, peer, link)
      this.#watchSurplus(id, peer)
    }, SURPLUS_MS).unref()
    this.#surplus.set(id, timer)
  }
}

/** A device makes a second connection of the same kind and direction only when it knows that the first is gone. */
function replaces(connection: Connection, kind: LinkKind, link: Link): boolean {
  if (kind !== link.kind) return false
  return kind === 'wan' || connection.isInitiator === link.connection.isInitiator
}
