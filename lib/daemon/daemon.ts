/** The daemon of one home: settings, and the fleet node once the home belongs to a fleet. */
import ReadyResource from 'ready-resource'
import { HyperparcelError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { HomePaths } from '../base/paths.ts'
import { adoptFleet, ensureDeviceKey, loadIdentity, type FleetIdentity } from '../fleet/index.ts'
import { joinFleet, readInvite } from '../fleet/join.ts'
import { Network } from '../net/network.ts'
import { LogStore } from '../store/log-store.ts'
import { Config } from './config.ts'
import { FleetNode } from './node.ts'
import type { UseCaseContext } from './use-cases/context.ts'

export class Daemon extends ReadyResource {
  readonly paths: HomePaths
  readonly logger: Logger
  readonly config: Config
  readonly started = Date.now()
  #node: FleetNode | null = null

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
  }

  /** Opens the node of a home that belongs to a fleet already. */
  async openFleet(): Promise<void> {
    const identity = await loadIdentity(this.paths.keys)
    if (identity !== null) await this.openNode(identity)
  }

  get nodeOrNull(): FleetNode | null {
    return this.#node
  }

  /** Throws `NO_FLEET`. */
  get node(): FleetNode {
    if (this.#node !== null) return this.#node
    throw new HyperparcelError('NO_FLEET', 'This home belongs to no fleet yet', {
      hint: '`hyperparcel init` makes a new one; `hyperparcel join` enters one by an invite.'
    })
  }

  /** Throws `FLEET_EXISTS`. */
  refuseFleet(): void {
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
    node.once('failed', (err: HyperparcelError) => {
      this.logger.error({ err: err.toJSON() }, 'The store takes no more: the daemon ends')
      this.emit('stop')
    })
    try {
      await node.ready()
    } catch (err) {
      await node.close().catch(() => {})
      throw err
    }
    this.#node = node
    return node
  }

  /** Uses an invite: a network of its own, for strangers, until the fleet's answer is durable. */
  async pair(invite: string, name: string, context: UseCaseContext): Promise<FleetIdentity> {
    const { bootstrap } = readInvite(invite)
    if (this.config.settings.bootstrap === undefined && bootstrap.length > 0) {
      await this.config.set({ bootstrap })
    }
    const device = await ensureDeviceKey(this.paths.keys)
    const store = new LogStore({ directory: this.paths.store })
    const network = new Network({
      keyPair: device,
      topic: null,
      bootstrap: this.config.settings.bootstrap,
      store,
      isMember: () => false,
      pairingOpen: () => true,
      mayServe: () => false
    })
    try {
      await network.ready()
      context.progress({ phase: 'looking for the device that made the invite' })
      const { swarm } = network
      const answer = await joinFleet({ swarm, invite, device, name, signal: context.signal })
      return await adoptFleet(this.paths.keys, device, answer)
    } finally {
      await network.close()
      await store.close()
    }
  }
}
