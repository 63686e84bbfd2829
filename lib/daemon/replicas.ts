/** How many peers hold all of a version. A peer answers for itself, by what it has flushed. */
import type { VersionInfo } from '../fleet/index.ts'
import type { FleetNode } from './node.ts'

const ASK_TIMEOUT_MS = 3000

export class Replicas {
  readonly #node: FleetNode
  /** Versions and who was found to hold them; a holder stays one until it says otherwise. */
  readonly #known = new Map<string, Set<string>>()

  constructor(node: FleetNode) {
    this.#node = node
  }

  /** Asks the peers that are connected. */
  async count(info: VersionInfo): Promise<number> {
    const name = info.version.toString('hex')
    const holders = this.#known.get(name) ?? new Set<string>()
    this.#known.set(name, holders)
    const asked = this.#node.network.peers().map(async ({ publicKey }) => {
      try {
        const answer = await this.#node.network.call<{ holds: boolean }>(
          publicKey,
          'holds',
          { parcel: info.parcel.toString('hex'), version: name },
          { timeoutMs: ASK_TIMEOUT_MS }
        )
        if (answer.holds) holders.add(publicKey.toString('hex'))
        else holders.delete(publicKey.toString('hex'))
      } catch {
        // It said nothing: what it said before still counts.
      }
    })
    await Promise.all(asked)
    return holders.size
  }

  /** As found when it was last asked. */
  known(info: VersionInfo): number {
    return this.#known.get(info.version.toString('hex'))?.size ?? 0
  }
}
