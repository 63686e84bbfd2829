/** How many peers hold all of a version. A peer answers for itself, by what it has flushed. */
import type { VersionInfo } from '../fleet/index.ts'
import type { FleetNode } from './node.ts'
import { HOLDS_MAX, type HoldsAnswer } from './peer-api.ts'

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
    const holders = this.#holdersOf(name)
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

  /** Of versions of one parcel. Each peer is asked once for many. */
  async countEach(infos: VersionInfo[]): Promise<number[]> {
    const peers = this.#node.network.peers()
    for (let at = 0; at < infos.length; at += HOLDS_MAX) {
      const some = infos.slice(at, at + HOLDS_MAX)
      await Promise.all(peers.map(({ publicKey }) => this.#askEach(publicKey, some)))
    }
    return infos.map((info) => this.known(info))
  }

  async #askEach(peer: Buffer, infos: VersionInfo[]): Promise<void> {
    const names = infos.map(({ version }) => version.toString('hex'))
    const params = { parcel: infos[0].parcel.toString('hex'), versions: names }
    const opts = { timeoutMs: ASK_TIMEOUT_MS }
    const answer = await this.#node.network.call(peer, 'holds.each', params, opts).catch(() => null)
    // It said nothing: what it said before still counts.
    if (!Array.isArray(answer) || answer.length !== infos.length) return
    for (const [i, name] of names.entries()) {
      const holders = this.#holdersOf(name)
      if (answer[i] === true) holders.add(peer.toString('hex'))
      else holders.delete(peer.toString('hex'))
    }
  }

  #holdersOf(name: string): Set<string> {
    let holders = this.#known.get(name)
    if (holders === undefined) this.#known.set(name, (holders = new Set()))
    return holders
  }

  /** Public keys of the devices that held all of it when they were last asked. */
  holders({ version }: VersionInfo): Buffer[] {
    const known = this.#known.get(version.toString('hex')) ?? []
    return [...known].map((key) => Buffer.from(key, 'hex'))
  }

  /** How many they are. */
  known(info: VersionInfo): number {
    return this.#known.get(info.version.toString('hex'))?.size ?? 0
  }
}
