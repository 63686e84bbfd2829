/**
 * Devices on the same local network, with no DHT: multicast DNS to find them, TCP with Noise to talk.
 *
 * Who calls whom: Network ─▶ Lan ─▶ one Beacon (says and hears who is there) and one Listener (TCP) an interface;
 * what is heard goes to the AddressBook, which says when to call; proven connections go to `onconnection`.
 *
 * Invariants
 * - Nothing is sent on, and nobody is called beyond, the chosen interfaces and their subnets.
 * - What is heard is remembered only of devices that may be there; it makes us call, never trust.
 */
import os from 'node:os'
import safetyCatch from 'safety-catch'
import type { Connection } from 'hyperswarm'
import type { KeyPair } from 'hyperdht'
import type { Clock } from '../../base/clock.ts'
import type { Endpoint } from '../../format/lan.ts'
import { AddressBook } from './address-book.ts'
import { Beacon, type BeaconOptions } from './beacon.ts'
import { CallLimits } from './call-limits.ts'
import { dial } from './dial.ts'
import { createHello, isHelloOf, targetOf, type LanIdentity, type LanTarget } from './hello.ts'
import { isOnLink, lanInterfaces, type InterfaceChoice, type LanInterface } from './interfaces.ts'
import { Listener } from './listener.ts'

const TICK_MS = 500
/** Interfaces come and go. */
const INTERFACES_MS = 5000
/** Between questions and announcements: from the first to the longest, while somebody is looked for; else the longest. */
const SPEAK_MS_MIN = 1000
const SPEAK_MS_MAX = 60_000
/** Who we are is said by another name after that long. */
const HELLO_MS = 3_600_000
/** Of two devices that hear each other, the one with the greater key waits so long for the other's call. */
const YIELD_MS = 1500
const DIALS_MAX = 4

export interface LanOptions {
  keyPair: KeyPair
  choice: InterfaceChoice
  /** Of TCP, where it is free. */
  port: number
  clock: Clock
  /** Who we are: announced, and called for. */
  identities(): LanIdentity[]
  /** Who may be there. */
  targets(): LanTarget[]
  /** Is there a connection of ours to that device? */
  isLinked(publicKey: Buffer): boolean
  /** `as`: by which identity the other side called us; null: we called. */
  onconnection(connection: Connection, as: LanIdentity | null): void
  /** Where this device can be called has changed. */
  onstations(): void
  onproblem(err: Error): void
}

interface Station {
  at: LanInterface
  listener: Listener
  beacon: Beacon | null
  port: number
}

export class Lan {
  readonly #opts: LanOptions
  readonly #book = new AddressBook()
  readonly #limits: CallLimits
  readonly #stations = new Map<string, Station>()
  readonly #dialing = new Set<string>()
  /** By public key in hex. */
  readonly #hellos = new Map<string, Buffer>()
  #timer: NodeJS.Timeout | null = null
  #lookedAtMs = Number.NEGATIVE_INFINITY
  #spokenAtMs = Number.NEGATIVE_INFINITY
  #speakMs = SPEAK_MS_MIN
  #hellosAtMs = Number.NEGATIVE_INFINITY
  #hasNews = false
  #problem = ''
  #closed = false

  constructor(opts: LanOptions) {
    this.#opts = opts
    this.#limits = new CallLimits(opts.clock)
  }

  open(): void {
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref()
    this.#tick()
  }

  close(): void {
    this.#closed = true
    if (this.#timer !== null) clearInterval(this.#timer)
    for (const station of this.#stations.values()) this.#end(station)
    this.#stations.clear()
  }

  /** Where this device can be called. */
  endpoints(): Endpoint[] {
    return [...this.#stations.values()]
      .filter(({ port }) => port > 0)
      .map(({ at, port }) => ({ host: at.address, port }))
  }

  /** A device says, over a connection that proves who it is, where it listens. */
  told(publicKey: Buffer, endpoints: Endpoint[]): void {
    for (const endpoint of endpoints) this.#heard(publicKey, endpoint)
  }

  /** Whom we look for has changed: ask often again, as long as somebody is missing. */
  wake(): void {
    this.#speakMs = SPEAK_MS_MIN
  }

  /** Who we are has changed: say so. */
  identitiesChanged(): void {
    this.#hasNews = true
  }

  /** A connection to that device broke. */
  lost(publicKey: Buffer): void {
    this.#book.lost(publicKey.toString('hex'), this.#opts.clock.monotonic())
    this.wake()
  }

  #tick(): void {
    const nowMs = this.#opts.clock.monotonic()
    if (nowMs - this.#lookedAtMs >= INTERFACES_MS) {
      this.#lookedAtMs = nowMs
      this.#updateStations()
    }
    const targets = this.#opts.targets()
    this.#book.keep(new Set(targets.map(({ publicKey }) => publicKey.toString('hex'))))
    const missing = targets.filter(({ publicKey }) => !this.#opts.isLinked(publicKey))
    if (missing.length === 0) this.#speakMs = SPEAK_MS_MAX
    const waitMs = this.#hasNews ? SPEAK_MS_MIN : this.#speakMs
    if (nowMs - this.#spokenAtMs >= waitMs) {
      this.#hasNews = false
      this.#spokenAtMs = nowMs
      this.#speakMs = Math.min(SPEAK_MS_MAX, 2 * this.#speakMs)
      for (const { beacon } of this.#stations.values()) {
        beacon?.announce()
        beacon?.ask()
      }
    }
    this.#call(missing, nowMs)
  }

  #call(targets: LanTarget[], nowMs: number): void {
    for (const target of targets) {
      const id = target.publicKey.toString('hex')
      if (this.#dialing.has(id) || this.#dialing.size >= DIALS_MAX) continue
      const endpoint = this.#book.next(id, nowMs)
      const at = endpoint === null ? undefined : this.#reaching(endpoint)
      if (endpoint === null || at === undefined) continue
      this.#dialing.add(id)
      dial(endpoint, at, this.#opts.keyPair, target)
        .then((connection) => {
          if (connection === null) return
          if (this.#closed) connection.destroy()
          else this.#opts.onconnection(connection, null)
        })
        .catch(safetyCatch)
        .finally(() => this.#dialing.delete(id))
    }
  }

  #onhello(hello: Buffer, endpoint: Endpoint, gone: boolean): void {
    const target = this.#opts.targets().find((candidate) => isHelloOf(hello, candidate))
    if (target === undefined) return
    const id = target.publicKey.toString('hex')
    if (gone) this.#book.gone(id, endpoint, this.#opts.clock.monotonic())
    else this.#heard(target.publicKey, endpoint)
  }

  #heard(publicKey: Buffer, endpoint: Endpoint): void {
    if (this.#reaching(endpoint) === undefined) return
    const yields = Buffer.compare(this.#opts.keyPair.publicKey, publicKey) > 0
    const nowMs = this.#opts.clock.monotonic()
    this.#book.heard(publicKey.toString('hex'), endpoint, nowMs, yields ? YIELD_MS : 0)
  }

  #reaching({ host }: Endpoint): LanInterface | undefined {
    for (const { at } of this.#stations.values()) if (isOnLink(host, at)) return at
    return undefined
  }

  #updateStations(): void {
    const wanted = lanInterfaces(os.networkInterfaces(), this.#opts.choice)
    const ids = new Set(wanted.map(idOf))
    for (const [id, station] of this.#stations) {
      if (ids.has(id)) continue
      this.#stations.delete(id)
      this.#end(station)
    }
    for (const at of wanted) if (!this.#stations.has(idOf(at))) this.#begin(at)
  }

  #begin(at: LanInterface): void {
    const { identities, onconnection, port, clock } = this.#opts
    const onproblem = (err: Error) => this.#onproblem(err)
    const id = idOf(at)
    const listener = new Listener({ at, limits: this.#limits, port, identities, onconnection })
    const station: Station = { at, listener, beacon: null, port: 0 }
    this.#stations.set(id, station)
    listener
      .listen()
      .then((bound) => {
        if (this.#stations.get(id) !== station) return
        station.port = bound
        const hellos = () => this.#ownHellos()
        const onhello: BeaconOptions['onhello'] = (...heard) => this.#onhello(...heard)
        station.beacon = new Beacon({ at, clock, port: bound, hellos, onhello, onproblem })
        this.#opts.onstations()
      })
      .catch((err: Error) => {
        if (this.#stations.get(id) === station) this.#stations.delete(id)
        onproblem(err)
      })
  }

  /** Each once, until there is another one: some come with every packet. */
  #onproblem(err: Error): void {
    if (this.#closed || this.#problem === err.message) return
    this.#problem = err.message
    this.#opts.onproblem(err)
  }

  #end({ listener, beacon }: Station): void {
    beacon?.close()
    listener.close()
  }

  /** The same for everybody who asks, until it is time for others. */
  #ownHellos(): Buffer[] {
    const nowMs = this.#opts.clock.monotonic()
    if (nowMs - this.#hellosAtMs >= HELLO_MS) {
      this.#hellos.clear()
      this.#hellosAtMs = nowMs
    }
    const targets = this.#opts.identities().map(targetOf)
    const ids = targets.map(({ publicKey }) => publicKey.toString('hex'))
    for (const id of this.#hellos.keys()) if (!ids.includes(id)) this.#hellos.delete(id)
    return targets.map((target, i) => {
      const hello = this.#hellos.get(ids[i]) ?? createHello(target)
      this.#hellos.set(ids[i], hello)
      return hello
    })
  }
}

function idOf({ name, address, prefix }: LanInterface): string {
  return `${name} ${address}/${prefix}`
}
