/**
 * A device that belongs to a fleet: everything that lives as long as the daemon, opened in the order of
 * dependency and closed in reverse. Use cases (`use-cases/`) get this and nothing else.
 */
import { existsSync, readdirSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import ReadyResource from 'ready-resource'
import safetyCatch from 'safety-catch'
import { systemClock } from '../base/clock.ts'
import { HyperparcelError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { parcelDirectory, parcelRunDirectory, type HomePaths } from '../base/paths.ts'
import type { LogKeys } from '../chunk/segment.ts'
import { Registry, localKey, logKeys, type FleetIdentity, type ParcelInfo } from '../fleet/index.ts'
import { Pairing } from '../fleet/pairing.ts'
import { OVERLAY_SUFFIX } from '../runner/overlay-key.ts'
import { LeaseKeeper } from '../lease/index.ts'
import { Contradictions } from '../net/contradictions.ts'
import { Network } from '../net/network.ts'
import type { BlockSet } from '../base/block-set.ts'
import { DedupIndex } from '../store/dedup-index.ts'
import { LogStore } from '../store/log-store.ts'
import type { Log } from '../store/ports.ts'
import { SegmentIndexer } from '../store/segment-indexer.ts'
import { localNetwork, type Settings } from './config.ts'
import { AtHand } from './packs/at-hand.ts'
import { Packs } from './packs/packs.ts'
import { Rehearsals } from './packs/rehearsals.ts'
import { LowSpaceWatch } from './pruning/low-space.ts'
import { SegmentIds } from './runners/segment-ids.ts'
import { Lookaside } from './lookaside/lookaside.ts'
import { PeerApi } from './peers/peer-api.ts'
import { Follower } from './orders/follower.ts'
import { OrderBook } from './orders/order-book.ts'
import { OrderCalls } from './orders/order-calls.ts'
import { guardCalls } from './peers/caches.ts'
import { PinPublisher } from './peers/pin-publisher.ts'
import { ProactiveFetch } from './versions/proactive.ts'
import { nearbySources } from './lookaside/nearby-sources.ts'
import { peerSources } from './peers/peer-sources.ts'
import { Replicas } from './peers/replicas.ts'
import { Runners } from './runners/runners.ts'
import { settleUnfinished } from './runners/unfinished.ts'
import { Ballast } from './pruning/ballast.ts'
import { Verified } from './versions/verified.ts'
import { ByteSources } from './transfers/byte-sources.ts'
import { Transfers } from './transfers/transfers.ts'
import { Versions } from './versions/versions.ts'

export interface NodeOptions {
  paths: HomePaths
  identity: FleetIdentity
  settings: Readonly<Settings>
  logger: Logger
}

export class FleetNode extends ReadyResource {
  readonly paths: HomePaths
  readonly identity: FleetIdentity
  readonly logger: Logger
  readonly settings: Readonly<Settings>
  readonly store: LogStore
  readonly index: DedupIndex
  readonly indexer: SegmentIndexer
  readonly registry: Registry
  readonly leases: LeaseKeeper
  readonly network: Network
  readonly contradictions: Contradictions
  readonly versions: Versions
  readonly verified: Verified
  readonly ballast: Ballast
  readonly replicas: Replicas
  readonly proactive: ProactiveFetch
  readonly orders: OrderBook
  readonly orderCalls: OrderCalls
  readonly follower: Follower
  /** What comes from whom. */
  readonly sources = new ByteSources(systemClock)
  readonly transfers = new Transfers(this.sources, systemClock)
  readonly lowSpace = new LowSpaceWatch(this)
  readonly runners: Runners
  readonly packs = new Packs(this)
  readonly rehearsals = new Rehearsals(this)
  readonly atHand = new AtHand(this)
  readonly peerApi: PeerApi
  readonly lookaside: Lookaside
  readonly segmentIds = new SegmentIds(this)
  readonly pins: PinPublisher
  /** While blocks are being dropped, this device vouches for no version. */
  evicting = false
  /** Segments are being rewritten: nothing may be dropped by another command. */
  repacking = false
  /** Blocks that are being dropped: nothing new may reference them. */
  doomed: BlockSet | null = null
  /** There when the network is open. */
  pairing!: Pairing
  readonly #closing = new AbortController()
  /** When each device was last connected, by public key (hex). */
  readonly #seen = new Map<string, number>()

  constructor(opts: NodeOptions) {
    super()
    const { paths, identity, settings, logger } = opts
    this.paths = paths
    this.identity = identity
    this.logger = logger
    this.settings = settings
    this.store = new LogStore({ directory: paths.store })
    this.index = new DedupIndex({
      directory: paths.index,
      stored: async (key, blocks) => {
        const log = await this.store.peek(key)
        return log === null ? blocks.map(() => false) : log.hasEach(blocks)
      }
    })
    this.indexer = new SegmentIndexer(this.store, this.index, (log) => this.#idKeyOf(log))
    this.registry = new Registry({ identity, store: this.store, keysDirectory: paths.keys })
    this.leases = new LeaseKeeper({ log: this.registry, keys: identity.device })
    this.peerApi = new PeerApi(this)
    this.orders = new OrderBook(paths.home)
    this.orderCalls = new OrderCalls(this)
    this.follower = new Follower(this)
    this.sources.add(() => peerSources(this))
    this.sources.add(() => nearbySources(this.lookaside))
    this.sources.add(() => this.segmentIds.counts())
    this.pins = new PinPublisher(this)
    this.contradictions = new Contradictions({
      directory: paths.contradictions,
      store: this.store,
      mayServe: (log) => this.#isFleetLog(log)
    })
    this.network = new Network({
      keyPair: identity.device,
      topic: identity.topic,
      bootstrap: settings.bootstrap,
      store: this.store,
      isMember: (key) => this.registry.admits(key),
      members: () => this.#memberKeys(),
      pairingOpen: () => this.pairing?.openInvites > 0,
      mayServe: (peer, log) =>
        this.isCache(peer) ? this.#isForCaches(log) : this.#isFleetLog(log),
      lan: localNetwork(settings, { identities: () => this.pairing?.identities ?? [] }),
      handlers: guardCalls(
        {
          ...this.peerApi.handlers(),
          ...this.orderCalls.handlers(),
          ...this.contradictions.handlers
        },
        (peer) => this.isCache(peer)
      )
    })
    this.ballast = new Ballast(path.join(paths.home, 'reserve'), paths.home)
    this.verified = new Verified(path.join(paths.home, 'verified.json'))
    this.versions = new Versions({
      store: this.store,
      fetcher: this.network.fetcher,
      keysOf: (log) => this.keysOf(log),
      annexes: (version) => this.registry.annexes(version),
      self: identity.device.publicKey,
      ask: async (info) => [...(await this.replicas.maps(info)), ...this.lookaside.maps(info)]
    })
    this.replicas = new Replicas(this)
    this.proactive = new ProactiveFetch(this)
    this.runners = new Runners(this)
    this.lookaside = new Lookaside(this)
  }

  protected override async _open(): Promise<void> {
    this.store.on('log', (log: Log) => this.indexer.follow(log))
    this.store.on('failed', (err: HyperparcelError) => this.emit('failed', err))
    this.registry.on('update', () => {
      this.#follow()
      this.indexer.keysChanged()
    })
    this.registry.on('card', () => this.#follow()) // a device may go on in another log
    this.registry.on('problem', (err: HyperparcelError) =>
      this.logger.warn({ err: err.toJSON() }, 'A registry record was ignored')
    )
    await this.ballast.spend()
    await this.store.ready()
    await this.index.ready()
    await this.registry.ready()
    await this.verified.load()
    await this.orders.load()
    await this.replicas.load()
    // Before the first peer can be there: who asks for a lease must hear what runs here, and gets our cards.
    await this.runners.adopt()
    this.peerApi.start()
    const see = (key: Buffer) => void this.#seen.set(key.toString('hex'), Date.now())
    this.network.on('peer-add', see)
    this.network.on('peer-remove', see)
    this.network.on('warning', (err: Error) =>
      this.logger.warn({ err: HyperparcelError.from(err).toJSON() }, 'The local network fails')
    )
    await this.contradictions.ready()
    this.contradictions.watch(this.network)
    this.contradictions.on('found', ({ log }: { log: Buffer }) =>
      this.logger.warn({ log: log.toString('hex') }, 'Two histories of a log were signed')
    )
    await this.network.ready()
    this.pairing = new Pairing({
      swarm: this.network.pairingSwarm,
      registry: this.registry,
      keysDirectory: this.paths.keys
    })
    this.pairing.on('open-invites', () => this.network.identitiesChanged())
    await this.pairing.ready()
    this.#follow()
    await this.lookaside.start()
    await settleUnfinished(this)
    await this.indexer.rebuild()
    this.proactive.start()
    this.follower.start()
    this.sources.start()
    this.pins.start()
    await this.packs.load()
    await this.rehearsals.start()
    this.atHand.start()
    await this.ballast.keep()
  }

  /** Aborts when the daemon ends: for work in the background. */
  get closingSignal(): AbortSignal {
    return this.#closing.signal
  }

  protected override async _close(): Promise<void> {
    this.sources.stop()
    this.#closing.abort(new HyperparcelError('INTERRUPTED', 'The daemon ends'))
    this.atHand.close()
    await this.rehearsals.close()
    await this.runners.detach()
    await this.pins.close()
    await this.lookaside.close()
    await this.pairing?.close()
    await this.network.close()
    await this.contradictions.close()
    await this.replicas.close()
    await this.registry.close()
    await this.indexer.close()
    await this.index.close()
    await this.store.close()
  }

  /** Seals the keys of overlays. */
  get overlayKey(): Buffer {
    return localKey(this.identity.device, 'local overlay')
  }

  /** Rejects with `PARCEL_NOT_FOUND`. */
  parcel(name: string): ParcelInfo {
    const parcel = this.registry.parcelByName(name)
    if (parcel !== null) return parcel
    const names = this.registry.parcels().map((known) => known.name)
    throw new HyperparcelError('PARCEL_NOT_FOUND', `There is no parcel called ${name}`, {
      hint:
        names.length === 0
          ? 'There are none yet: make one with "hyperparcel create".'
          : `There are: ${names.join(', ')}.`
    })
  }

  /** Keys of a log of a parcel of this fleet. Throws `KEY_MISSING`. */
  keysOf(log: Buffer): LogKeys {
    const owner = this.registry.logOwner(log)
    if (owner === null) {
      throw new HyperparcelError('KEY_MISSING', 'A log is not known to this device yet', {
        hint: 'Its owner announces it: connect to another device of the fleet.'
      })
    }
    return logKeys(this.registry.parcelKey(owner.parcel), log)
  }

  /** The log that this device writes for a parcel, announced to the fleet before anything references it. */
  ownLog(parcel: Buffer): Promise<Log> {
    return this.#ownLog(parcel, purposeOf(parcel))
  }

  /** Likewise, for segments that are rewritten: commits go on meanwhile, and each log has one writer at a time. */
  repackLog(parcel: Buffer): Promise<Log> {
    return this.#ownLog(parcel, `repack:${parcel.toString('hex')}`)
  }

  /** Likewise, for resume packs. */
  packLog(parcel: Buffer): Promise<Log> {
    return this.#ownLog(parcel, `pack:${parcel.toString('hex')}`)
  }

  async #ownLog(parcel: Buffer, purpose: string): Promise<Log> {
    const log = await this.store.current(purpose)
    if (this.registry.logOwner(log.key) === null) {
      await this.registry.append({ kind: 'log', body: { parcel, log: log.key } })
    }
    return log
  }

  /** Takes back a parcel that never got a version: its record, its blocks, its folder. */
  async forgetUncreated(parcel: Buffer): Promise<void> {
    await this.hideUncreated(parcel)
    await rm(this.stateDirectory(parcel), { recursive: true, force: true })
    await this.store.drop(purposeOf(parcel))
  }

  /** Its name is free again; its data is still there. */
  async hideUncreated(parcel: Buffer): Promise<void> {
    if (this.registry.parcel(parcel) === null) return
    await this.registry.append({ kind: 'parcel-removed', body: { parcel } })
  }

  /** When that device was last connected, in milliseconds since the epoch; null when it never was since the daemon started. */
  lastSeen(device: Buffer): number | null {
    const name = device.toString('hex')
    if (this.network.peers().some(({ publicKey }) => publicKey.equals(device))) return Date.now()
    return this.#seen.get(name) ?? null
  }

  /** Is there an overlay of a run that ended without a version? */
  async hasLeftovers(parcel: Buffer): Promise<boolean> {
    return leftovers(await readdir(this.stateDirectory(parcel)).catch(() => []))
  }

  /** The same, for a message. */
  crashedNow(parcel: Buffer): boolean {
    const directory = this.stateDirectory(parcel)
    return existsSync(directory) && leftovers(readdirSync(directory))
  }

  stateDirectory(parcel: Buffer): string {
    return parcelDirectory(this.paths, parcel)
  }

  runDirectory(parcel: Buffer): string {
    return parcelRunDirectory(this.paths, parcel)
  }

  get cacheDirectory(): string {
    return path.join(this.paths.home, 'vmm')
  }

  #idKeyOf(log: Buffer): Buffer | null {
    const owner = this.registry.logOwner(log)
    return owner === null ? null : logKeys(this.registry.parcelKey(owner.parcel), log).id
  }

  /** Does that member have no key? */
  isCache(publicKey: Buffer): boolean {
    return this.registry.device(publicKey)?.role === 'cache'
  }

  #isForCaches(log: Buffer): boolean {
    return this.pins.lists(log) || this.#isRegistryLog(log)
  }

  #isFleetLog(log: Buffer): boolean {
    return this.registry.logOwner(log) !== null || this.#isRegistryLog(log)
  }

  #isRegistryLog(log: Buffer): boolean {
    return this.registry.registryLogs().some((known) => known.log.equals(log))
  }

  #memberKeys(): Buffer[] {
    return this.registry
      .devices()
      .filter((device) => !device.removed)
      .map((device) => device.publicKey)
  }

  #follow(): void {
    this.network.membersChanged()
    for (const { log } of this.registry.registryLogs()) {
      this.network.followLog(log).catch(safetyCatch)
    }
  }
}

/** Names the log that this device writes for a parcel. */
function purposeOf(parcel: Buffer): string {
  return `parcel:${parcel.toString('hex')}`
}

function leftovers(names: string[]): boolean {
  return names.some((name) => name.endsWith(OVERLAY_SUFFIX) && name !== `memory${OVERLAY_SUFFIX}`)
}
