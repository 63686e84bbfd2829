/**
 * What a resume starts from, fetched as news comes, so that it costs no round trip then: the record of the newest version,
 * the heads of its packs, and what is known of their logs. Some kilobytes a version, for each parcel whose lease this
 * device holds; a resume of another waits for the lease anyway.
 */
import safetyCatch from 'safety-catch'
import type { FleetNode } from '../node.ts'
import { headVersion } from '../versions/heads.ts'

/** News come in crowds. */
const DELAY_MS = 100

export class AtHand {
  readonly #node: FleetNode
  /** Version (hex) of each parcel (hex) that is being kept at hand, and what ends that. */
  readonly #heads = new Map<
    string,
    { version: string; blocks: Set<string>; end: AbortController }
  >()
  #timer: NodeJS.Timeout | null = null

  constructor(node: FleetNode) {
    this.#node = node
  }

  start(): void {
    const look = () => {
      this.#timer ??= setTimeout(() => {
        this.#timer = null
        this.#look()
      }, DELAY_MS).unref()
    }
    this.#node.registry.on('update', look)
    this.#node.network.on('peer-add', look)
    look()
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    for (const { end } of this.#heads.values()) end.abort()
  }

  #look(): void {
    if (this.#node.closingSignal.aborted) return
    for (const { id } of this.#node.registry.parcels()) {
      const info = headVersion(this.#node, id)
      if (info === null || !this.#mayStart(id)) continue
      const parcel = id.toString('hex')
      const version = info.version.toString('hex')
      let head = this.#heads.get(parcel)
      if (head?.version !== version) {
        head?.end.abort()
        head = { version, blocks: new Set(), end: new AbortController() }
        this.#heads.set(parcel, head)
      }
      for (const place of [info, ...this.#node.registry.packs(info.version)]) {
        const name = `${place.log.toString('hex')}/${place.block}`
        if (head.blocks.has(name)) continue
        head.blocks.add(name)
        const opts = { priority: 'proactive', signal: head.end.signal } as const
        this.#node.network.fetcher.fetch(place.log, [place.block], opts).catch(safetyCatch)
      }
    }
  }

  #mayStart(parcel: Buffer): boolean {
    const { head } = this.#node.leases.chain(parcel)
    return head?.entry.body.holder.equals(this.#node.identity.device.publicKey) === true
  }
}
