/** How many peers hold all of a version. A peer answers for itself, by what it has flushed. */
import type { VersionInfo } from '../fleet/index.ts'
import type { FleetNode } from './node.ts'
import type { HoldsAnswer } from './peer-api.ts'

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
    return (await this.ask(info)).holders
  }

  /** Likewise; also whether a connected one has it open without having all of it. */
  async ask(info: VersionInfo): Promise<{ holders: number; awaited: boolean }> {
    let awaited = false
    const name = info.version.toString('hex')
    const holders = this.#known.get(name) ?? new Set<string>()
    this.#known.set(name, holders)
    const asked = this.#node.network.peers().map(async ({ publicKey }) => {
      try {
        const answer = await this.#node.network.call<HoldsAnswer>(
          publicKey,
          'holds',
          { parcel: info.parcel.toString('hex'), version: name },
          { timeoutMs: ASK_TIMEOUT_MS }
        )
        if (answer.uses === true && !answer.holds) awaited = true
        if (answer.holds) holders.add(publicKey.toString('hex'))
        else holders.delete(publicKey.toString('hex'))
      } catch {
        // It said nothing: what it said before still counts.
      }
    })
    await Promise.all(asked)
    return { holders: holders.size, awaited }
  }

  /** As found when it was last asked. */
  known(info: VersionInfo): number {
    return this.#known.get(info.version.toString('hex'))?.size ?? 0
  }
}
