/**
 * Obeys the standing orders: fetches new versions of what is followed here, and tells other devices what to follow.
 *
 * - Only the newest version is wanted; what was made and superseded meanwhile is passed over.
 * - A device is told once for each time that it connects, and again after a while where it could not take it.
 * - What cannot be had is tried again when somebody connects, when news come, and after a while.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import type { StandingOrder } from '../../format/local-books.ts'
import type { FleetNode } from '../node.ts'
import { headVersion } from '../versions/heads.ts'

/** News come in bursts. */
const LOOK_MS = 200
const RETRY_MS = 15_000

export class Follower {
  readonly #node: FleetNode
  /** Newest version (id in hex) that is known to be whole here, by parcel (hex). */
  readonly #whole = new Map<string, string>()
  /** Orders that their device knows of, while it is connected: by its public key (hex), names of orders. */
  readonly #told = new Map<string, Set<string>>()
  #looking = false
  #again = false

  constructor(node: FleetNode) {
    this.#node = node
  }

  start(): void {
    const { registry, network, orders, closingSignal } = this.#node
    registry.on('update', () => this.look())
    network.on('peer-add', () => this.look())
    network.on('peer-remove', (key: Buffer) => void this.#told.delete(key.toString('hex')))
    orders.on('change', () => this.look())
    network.limits.on('change', () => this.look())
    const timer = setInterval(() => this.look(), RETRY_MS)
    closingSignal.addEventListener('abort', () => clearInterval(timer), { once: true })
    this.look()
  }

  /** Soon. */
  look(): void {
    this.#again = true
    if (!this.#looking) this.#look().catch(safetyCatch) // the node closes
  }

  /** Blocks were dropped: nothing is known to be whole any more. */
  forget(): void {
    this.#whole.clear()
  }

  async #look(): Promise<void> {
    this.#looking = true
    try {
      while (this.#again) {
        await sleep(LOOK_MS, undefined, { signal: this.#node.closingSignal })
        this.#again = false
        for (const order of this.#node.orders.active('follow')) await this.#follow(order)
        for (const order of this.#node.orders.of('push')) await this.#tell(order)
      }
    } finally {
      this.#looking = false
    }
  }

  async #follow(order: StandingOrder): Promise<void> {
    const { registry, orders, versions, proactive, network, logger, evicting } = this.#node
    const parcel = registry.parcel(order.parcel)
    if (parcel === null) return orders.drop(order) // removed
    const head = headVersion(this.#node, parcel.id)
    if (head === null || evicting || network.limits.metered) return
    if (network.peers().length === 0) return
    const [id, version] = [parcel.id.toString('hex'), head.version.toString('hex')]
    if (this.#whole.get(id) === version || proactive.wants(head)) return
    const [{ whole }] = await versions.local([head])
    if (whole) return void this.#whole.set(id, version)
    await proactive.follow(head).catch((err: unknown) => {
      logger.warn(
        { err, parcel: parcel.name },
        'The newest version of what is followed is not fetched'
      )
    })
  }

  async #tell(order: StandingOrder): Promise<void> {
    const { registry, orders, network, orderCalls, logger } = this.#node
    if (registry.parcel(order.parcel) === null || !isDevice(this.#node, order.device)) {
      return orders.drop(order)
    }
    if (!network.isConnected(order.device)) return
    const to = order.device.toString('hex')
    const told = this.#told.get(to) ?? new Set()
    this.#told.set(to, told)
    const name = `${order.parcel.toString('hex')} ${order.since} ${order.ended}`
    if (told.has(name)) return
    try {
      const follows = await orderCalls.tell(order)
      told.add(name)
      // It knows that this has ended; or its own user ended it there.
      if (order.ended || !follows) await orders.drop(order)
    } catch (err) {
      logger.warn({ err }, 'A device could not be told what to follow: it is told later')
    }
  }
}

function isDevice({ registry }: FleetNode, key: Buffer): boolean {
  return registry.devices().some(({ removed, publicKey }) => !removed && publicKey.equals(key))
}
