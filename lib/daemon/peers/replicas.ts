/**
 * How many peers hold all of a version. A peer answers for itself, by what it has flushed; what it said is remembered
 * (`replica-book.ts`).
 */
import * as v from 'valibot'
import type { VersionInfo } from '../../fleet/index.ts'
import type { PeerMap } from '../versions/map-choice.ts'
import type { FleetNode } from '../node.ts'
import { HOLDS_MAX, Hex, type HoldsAnswer } from './call-params.ts'
import { ReplicaBook } from './replica-book.ts'

const ASK_TIMEOUT_MS = 3000
const MapAnswer = v.object({
  holds: v.boolean(),
  annex: v.optional(
    v.object({ log: Hex(32), block: v.pipe(v.number(), v.integer(), v.minValue(0)) })
  )
})
const AwaitsAnswer = v.pipe(v.array(Hex(32)), v.maxLength(HOLDS_MAX))

export class Replicas {
  readonly #node: FleetNode
  readonly #book: ReplicaBook

  constructor(node: FleetNode) {
    this.#node = node
    this.#book = new ReplicaBook(node.paths.home)
  }

  /** After the registry is there. */
  async load(): Promise<void> {
    await this.#book.load()
    const { registry } = this.#node
    const versions = new Set(
      registry.parcels().flatMap(({ id }) => registry.versions(id).map(nameOf))
    )
    const devices = new Set(
      registry
        .devices()
        .filter(({ removed }) => !removed)
        .map(({ publicKey }) => publicKey.toString('hex'))
    )
    this.#book.prune((version, device) => versions.has(version) && devices.has(device))
  }

  /** Durable on return, what was said. */
  close(): Promise<void> {
    return this.#book.close()
  }

  /** That device says that it has all of it now. */
  note(info: VersionInfo, device: Buffer): void {
    this.#book.note(nameOf(info), device.toString('hex'), true)
  }

  /** Asks the peers that are connected. */
  async count(info: VersionInfo): Promise<number> {
    return (await this.ask(info)).holders
  }

  /** Likewise; also whether a connected one has it open without having all of it. */
  async ask(info: VersionInfo): Promise<{ holders: number; awaited: boolean }> {
    let awaited = false
    const name = nameOf(info)
    const asked = this.#node.network.peers().map(async ({ publicKey }) => {
      try {
        const answer = await this.#node.network.call<HoldsAnswer>(
          publicKey,
          'holds',
          { parcel: info.parcel.toString('hex'), version: name },
          { timeoutMs: ASK_TIMEOUT_MS }
        )
        if (answer.uses === true && !answer.holds) awaited = true
        this.#book.note(name, publicKey.toString('hex'), answer.holds === true)
      } catch {
        // It said nothing: what it said before still counts.
      }
    })
    await Promise.all(asked)
    return { holders: this.known(info), awaited }
  }

  /** How connected peers read a version. */
  async maps(info: VersionInfo): Promise<PeerMap[]> {
    const params = { parcel: info.parcel.toString('hex'), version: info.version.toString('hex') }
    const answers = this.#node.network.peers().map(async ({ publicKey }) => {
      const opts = { timeoutMs: ASK_TIMEOUT_MS }
      const answer = await this.#node.network.call(publicKey, 'holds', params, opts)
      const { holds, annex } = v.parse(MapAnswer, answer)
      const place = annex && { log: Buffer.from(annex.log, 'hex'), block: annex.block }
      return { holds, annex: place ?? null }
    })
    const said = await Promise.allSettled(answers)
    return said.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
  }

  /**
   * Versions (ids in hex) that connected peers work with and do not have all of, and the peers (public keys in hex) that
   * said so or that there are none.
   */
  async awaited(): Promise<{ versions: Set<string>; answered: Set<string> }> {
    const versions = new Set<string>()
    const answered = new Set<string>()
    const asked = this.#node.network.peers().map(async ({ publicKey }) => {
      const opts = { timeoutMs: ASK_TIMEOUT_MS }
      const answer = await this.#node.network.call(publicKey, 'awaits', null, opts)
      for (const version of v.parse(AwaitsAnswer, answer)) versions.add(version)
      answered.add(publicKey.toString('hex'))
    })
    await Promise.allSettled(asked) // who does not answer is as if it were offline
    return { versions, answered }
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
      this.#book.note(name, peer.toString('hex'), answer[i] === true)
    }
  }

  /** Public keys of the devices that held all of it when they were last asked. */
  holders(info: VersionInfo): Buffer[] {
    return this.held(info).map(({ device }) => device)
  }

  /** Likewise, with when they last said so, milliseconds since the epoch. */
  held(info: VersionInfo): { device: Buffer; time: number }[] {
    return [...this.#book.of(nameOf(info))].map(([device, time]) => ({
      device: Buffer.from(device, 'hex'),
      time
    }))
  }

  /** How many they are. */
  known(info: VersionInfo): number {
    return this.#book.of(nameOf(info)).size
  }
}

function nameOf({ version }: VersionInfo): string {
  return version.toString('hex')
}
