/**
 * The daemon of one home: settings, and once the home belongs to a fleet its node. That of a cache is another one, which
 * has no keys: a home is a device of one fleet, or a cache of one or several.
 */
import ReadyResource from 'ready-resource'
import { HyperparcelError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { HomePaths } from '../base/paths.ts'
import { adoptFleet, ensureDeviceKey, loadIdentity, type FleetIdentity } from '../fleet/index.ts'
import { targetOfInvite } from '../fleet/invite-text.ts'
import { joinFleet, readInvite } from '../fleet/join.ts'
import { Network } from '../net/network.ts'
import { LogStore } from '../store/log-store.ts'
import { CacheNode, candidateDirectory, enrol, enrolments } from './cache/cache-node.ts'
import { Config, localNetwork, transferLimits } from './config.ts'
import { FleetNode } from './node.ts'
import { isCache } from './use-cases/cache.ts'
import type { UseCaseContext } from './use-cases/context.ts'

export class Daemon extends ReadyResource {
  readonly paths: HomePaths
  readonly logger: Logger
  readonly config: Config
  readonly started = Date.now()
  #node: FleetNode | null = null
  #cache: CacheNode | null = null

  constructor(paths: HomePaths, logger: Logger) {
    super()
    this.paths = paths
    this.logger = logger
    this.config = new Config(paths.config)
  }

  protected override async _open(): Promise<void> {
    await this.config.load()
  }

  protected override async _close(): Promise<void> {
    await this.#node?.close()
    await this.#cache?.close()
  }

  /** Opens the node of a home that belongs to a fleet already. */
  async openFleet(): Promise<void> {
    const identity = await loadIdentity(this.paths.keys)
    if (identity !== null) await this.openNode(identity)
    else if ((await enrolments(this.paths)).length > 0) await this.#openCache()
  }

  get nodeOrNull(): FleetNode | null {
    return this.#node
  }

  get cacheOrNull(): CacheNode | null {
    return this.#cache
  }

  /** Throws `NO_FLEET`, `IS_CACHE`. */
  get node(): FleetNode {
    if (this.#node !== null) return this.#node
    if (this.#cache !== null) throw isCache()
    throw new HyperparcelError('NO_FLEET', 'This home belongs to no fleet yet', {
      hint: '`hyperparcel init` makes a new one; `hyperparcel join` enters one by an invite.'
    })
  }

  /** Throws `FLEET_EXISTS`. */
  refuseFleet(): void {
    if (this.#cache !== null) {
      throw new HyperparcelError('FLEET_EXISTS', 'This home is a cache already', {
        hint: 'Use another home for a device: --home DIR or HYPERPARCEL_HOME.'
      })
    }
    if (this.#node === null) return
    throw new HyperparcelError('FLEET_EXISTS', 'This home already belongs to a fleet', {
      hint: 'Use another home: --home DIR or HYPERPARCEL_HOME.'
    })
  }

  async openNode(identity: FleetIdentity): Promise<FleetNode> {
    const node = new FleetNode({
      paths: this.paths,
      identity,
      settings: this.config.settings,
      logger: this.logger
    })
    node.once('failed', (err: HyperparcelError) => this.#onfailed(err))
    node.network.limits.set(transferLimits(this.config.settings))
    try {
      await node.ready()
    } catch (err) {
      await node.close().catch(() => {})
      throw err
    }
    this.#node = node
    return node
  }

  /** Uses the invite of a device. */
  async pair(invite: string, name: string, context: UseCaseContext): Promise<FleetIdentity> {
    const store = new LogStore({ directory: this.paths.store })
    try {
      return await this.#pair(invite, name, this.paths.keys, store, context)
    } finally {
      await store.close()
    }
  }

  /** Uses the invite of a cache: this home serves that fleet too from now on. */
  async enrol(
    invite: string,
    name: string,
    quotaBytes: number,
    context: UseCaseContext
  ): Promise<FleetIdentity> {
    const keys = await candidateDirectory(this.paths)
    const store = this.#cache?.store ?? new LogStore({ directory: this.paths.store })
    let identity: FleetIdentity
    try {
      identity = await this.#pair(invite, name, keys, store, context)
    } finally {
      if (this.#cache === null) await store.close()
    }
    await enrol(this.paths, identity, quotaBytes)
    if (this.#cache === null) await this.#openCache()
    else await this.#cache.add(identity)
    return identity
  }

  async #openCache(): Promise<void> {
    const { paths, logger, config } = this
    const cache = new CacheNode({ paths, settings: config.settings, logger })
    cache.once('failed', (err: HyperparcelError) => this.#onfailed(err))
    try {
      await cache.ready()
    } catch (err) {
      await cache.close().catch(() => {})
      throw err
    }
    this.#cache = cache
  }

  #onfailed(err: HyperparcelError): void {
    this.logger.error({ err: err.toJSON() }, 'The store takes no more: the daemon ends')
    this.emit('stop')
  }

  /** A network of its own, for strangers, until the fleet's answer is durable. */
  async #pair(
    invite: string,
    name: string,
    keys: string,
    store: LogStore,
    context: UseCaseContext
  ): Promise<FleetIdentity> {
    const { bootstrap } = readInvite(invite)
    if (this.config.settings.bootstrap === undefined && bootstrap.length > 0) {
      await this.config.set({ bootstrap })
    }
    const target = targetOfInvite(invite)
    const device = await ensureDeviceKey(keys)
    const network = new Network({
      keyPair: device,
      topic: null,
      bootstrap: this.config.settings.bootstrap,
      store,
      isMember: () => false,
      pairingOpen: () => true,
      mayServe: () => false,
      lan: localNetwork(this.config.settings, { targets: () => [target] })
    })
    try {
      await network.ready()
      context.progress({ phase: 'looking for the device that made the invite' })
      const { pairingSwarm: swarm } = network
      const answer = await joinFleet({ swarm, invite, device, name, signal: context.signal })
      return await adoptFleet(keys, device, answer)
    } finally {
      await network.close()
    }
  }
}
