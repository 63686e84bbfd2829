/** What devices tell each other about copies: follow this parcel, and: I have all of that version now. */
import safetyCatch from 'safety-catch'
import * as v from 'valibot'
import { HyperparcelError } from '../../base/errors.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import type { StandingOrder } from '../../format/local-books.ts'
import type { PeerHandlers } from '../../net/calls.ts'
import type { FleetNode } from '../node.ts'
import { Hex } from '../peers/call-params.ts'

const CALL_TIMEOUT_MS = 10_000

const Time = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const Follow = v.object({ parcel: Hex(16), since: Time, ended: v.boolean() })
const FollowAnswer = v.object({ follows: v.boolean() })
const Held = v.object({ parcel: Hex(16), version: Hex(32) })

export class OrderCalls {
  readonly #node: FleetNode

  constructor(node: FleetNode) {
    this.#node = node
  }

  handlers(): PeerHandlers {
    return {
      follow: (params, { peer }) => this.#follow(peer, v.parse(Follow, params)),
      held: (params, { peer }) => this.#held(peer, v.parse(Held, params))
    }
  }

  /** Tells its device of a push order, or of its end. Does it follow now? Rejects where it could not take that. */
  async tell({ parcel, device, since, ended }: StandingOrder): Promise<boolean> {
    const params = { parcel: parcel.toString('hex'), since, ended }
    const answer = await this.#node.network.call(device, 'follow', params, {
      timeoutMs: CALL_TIMEOUT_MS
    })
    return v.parse(FollowAnswer, answer).follows
  }

  /** Tells all connected devices that this one has all of a version, durably: they may be switched off. */
  tellHeld({ parcel, version }: VersionInfo): void {
    const params = { parcel: parcel.toString('hex'), version: version.toString('hex') }
    for (const { publicKey } of this.#node.network.peers()) {
      this.#node.network
        .call(publicKey, 'held', params, { timeoutMs: CALL_TIMEOUT_MS })
        .catch(safetyCatch) // it asks when it wants to know
    }
  }

  async #follow(
    peer: Buffer,
    { parcel, since, ended }: v.InferOutput<typeof Follow>
  ): Promise<v.InferOutput<typeof FollowAnswer>> {
    const { registry, orders } = this.#node
    const id = Buffer.from(parcel, 'hex')
    if (registry.parcel(id) === null) {
      throw new HyperparcelError('PARCEL_NOT_FOUND', 'That parcel is not known to this device yet')
    }
    const asker = registry.devices().find(({ publicKey }) => publicKey.equals(peer))
    if (asker?.role !== 'device') {
      throw new HyperparcelError('PEER_REFUSED', 'Only a device says what is followed')
    }
    if (!ended) return { follows: await orders.give(id, 'follow', peer, since) }
    // Whoever gave it ended it, and will not repeat it.
    const known = orders.of('follow', id).find(({ device }) => device.equals(peer))
    if (known !== undefined && known.since <= since) await orders.drop(known)
    return { follows: false }
  }

  #held(peer: Buffer, { parcel, version }: v.InferOutput<typeof Held>): null {
    const info = this.#node.registry
      .versions(Buffer.from(parcel, 'hex'))
      .find((known) => known.version.toString('hex') === version)
    if (info !== undefined) this.#node.replicas.note(info, peer)
    return null
  }
}
