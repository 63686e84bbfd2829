/**
 * What devices of one fleet ask of each other: cards, leases, handoffs, who holds what, and to hold more. The far side is an
 * admitted device; what it sends is checked all the same.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import * as v from 'valibot'
import { HyperparcelError } from '../../base/errors.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import {
  decodeLeaseEntry,
  encodeLeaseEntry,
  leaseRefusal,
  type LeaseEntry
} from '../../lease/index.ts'
import type { PeerHandlers } from '../../net/calls.ts'
import { headVersion } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
import { Cards, Hex, Holds, HoldsEach, type HoldsAnswer } from './call-params.ts'
import { giveHeads } from './segment-heads.ts'
import type { FetchState } from '../versions/proactive.ts'
import { suspendParcel } from '../use-cases/suspend.ts'

const Parcel = v.object({ parcel: Hex(16) })
const Entries = v.object({
  parcel: Hex(16),
  entries: v.pipe(v.array(v.pipe(v.string(), v.maxLength(64 * 1024))), v.maxLength(64))
})

const Bytes = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const FetchAnswer = v.object({ holds: v.boolean(), bytesLocal: Bytes, bytesTotal: Bytes })

/** Newest lease entries that travel with an answer; older ones are in the registry. */
const ENTRIES_SENT = 16
const HANDOFF_TIMEOUT_MS = 600_000
const LEASE_TIMEOUT_MS = 10_000
const FETCH_TIMEOUT_MS = 10_000
const INTRODUCTIONS_MAX = 5
const RETRY_MS = 1000

export class PeerApi {
  readonly #node: FleetNode

  constructor(node: FleetNode) {
    this.#node = node
  }

  handlers(): PeerHandlers {
    return {
      cards: (params) => this.#takeCards(v.parse(Cards, params).cards),
      holds: (params) => this.#holds(v.parse(Holds, params)),
      'holds.each': (params) => this.#holdsEach(v.parse(HoldsEach, params)),
      fetch: (params) => this.#fetch(v.parse(Holds, params)),
      awaits: () => this.#awaits(),
      'segment.heads': (params) =>
        giveHeads(this.#node.store, (log) => this.#node.registry.logOwner(log) !== null, params),
      'lease.request': (params, { peer }) => this.#grant(peer, v.parse(Parcel, params).parcel),
      'lease.deliver': (params) => this.#deliver(v.parse(Entries, params)),
      handoff: (params, { peer }) => this.#handoff(peer, v.parse(Parcel, params).parcel)
    }
  }

  /** Begins to gossip: all cards to each new peer, new cards to all peers. */
  start(): void {
    const { network, registry } = this.#node
    network.on('peer-add', (publicKey: Buffer) => {
      this.#introduce(publicKey).catch(safetyCatch)
    })
    registry.on('card', (card: Buffer) => {
      for (const { publicKey } of network.peers()) {
        this.#sendCards(publicKey, [card]).catch(safetyCatch)
      }
    })
  }

  /** Asks the holder for the lease. Resolves with the entries that it sent; rejects with `LEASE_HELD` … */
  async requestLease(holder: Buffer, parcel: Buffer, signal?: AbortSignal): Promise<void> {
    await this.#ask(holder, parcel, 'lease.request', LEASE_TIMEOUT_MS, signal)
  }

  /** Asks the holder to suspend the parcel for this device. */
  async requestHandoff(holder: Buffer, parcel: Buffer, signal?: AbortSignal): Promise<void> {
    await this.#ask(holder, parcel, 'handoff', HANDOFF_TIMEOUT_MS, signal)
  }

  /** Sends a grant to its device. False when it did not answer that it has it durably. */
  async deliverLease(to: Buffer, parcel: Buffer): Promise<boolean> {
    try {
      const { accepted } = await this.#node.network.call<{ accepted: boolean }>(
        to,
        'lease.deliver',
        { parcel: parcel.toString('hex'), entries: this.#tail(parcel) },
        { timeoutMs: LEASE_TIMEOUT_MS }
      )
      return accepted
    } catch {
      return false // it learns of the grant from the registry, when it is back
    }
  }

  /** Asks a device to fetch a version. Resolves with how far it is; rejects with `DISK_FULL`, `VERSION_NOT_FOUND` … */
  async requestFetch(device: Buffer, info: VersionInfo, signal?: AbortSignal): Promise<FetchState> {
    const answer = await this.#node.network.call(
      device,
      'fetch',
      { parcel: info.parcel.toString('hex'), version: info.version.toString('hex') },
      { timeoutMs: FETCH_TIMEOUT_MS, signal }
    )
    return v.parse(FetchAnswer, answer)
  }

  async #ask(
    holder: Buffer,
    parcel: Buffer,
    method: string,
    timeoutMs: number,
    signal?: AbortSignal
  ): Promise<void> {
    const answer = await this.#node.network.call(
      holder,
      method,
      { parcel: parcel.toString('hex') },
      { timeoutMs, signal }
    )
    const { entries } = v.parse(Entries, answer)
    await this.#node.leases.accept(parcel, entries.map(decode))
  }

  /** Without the cards a peer would not know where to look for news: tries again while it is connected. */
  async #introduce(publicKey: Buffer): Promise<void> {
    const { network, registry, closingSignal: signal } = this.#node
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#sendCards(publicKey, registry.cards())
      } catch (err) {
        if (attempt === INTRODUCTIONS_MAX || !network.isConnected(publicKey)) throw err
        await sleep(RETRY_MS * attempt, undefined, { signal })
      }
    }
  }

  async #sendCards(to: Buffer, cards: Buffer[]): Promise<void> {
    const encoded = cards.map((card) => card.toString('base64'))
    await this.#node.network.call(to, 'cards', { cards: encoded }, { timeoutMs: LEASE_TIMEOUT_MS })
  }

  async #takeCards(cards: string[]): Promise<null> {
    for (const card of cards) await this.#node.registry.addCard(Buffer.from(card, 'base64'))
    return null
  }

  async #holds({ parcel, version }: v.InferOutput<typeof Holds>): Promise<HoldsAnswer> {
    const info = this.#node.registry
      .versions(Buffer.from(parcel, 'hex'))
      .find((known) => known.version.toString('hex') === version)
    const uses = this.#node.runners.uses(version)
    const runs = this.#node.runners.get(Buffer.from(parcel, 'hex'))?.purpose === 'vm'
    if (info === undefined || this.#node.evicting) return { holds: false, uses, runs }
    const [{ whole, annex }] = await this.#node.versions.local([info])
    if (annex === null) return { holds: whole, uses, runs }
    const place = { log: annex.log.toString('hex'), block: annex.block }
    return { holds: whole, annex: place, uses, runs }
  }

  /** Versions (ids in hex) that this device works with and does not have all of: whoever has the rest keeps it. */
  async #awaits(): Promise<string[]> {
    const { registry, runners, versions } = this.#node
    const used = new Set([...runners.versions(), ...versions.pinned()])
    const infos = registry
      .parcels()
      .flatMap(({ id }) => registry.versions(id))
      .filter(({ version }) => used.has(version.toString('hex')))
    const local = await versions.local(infos)
    return infos.filter((_, i) => !local[i].whole).map(({ version }) => version.toString('hex'))
  }

  /** Begins to fetch a version, unless all of it is here; tells how far that is. */
  async #fetch({ parcel, version }: v.InferOutput<typeof Holds>): Promise<FetchState> {
    const info = this.#node.registry
      .versions(Buffer.from(parcel, 'hex'))
      .find((known) => known.version.toString('hex') === version)
    if (info !== undefined) return this.#node.proactive.ask(info)
    throw new HyperparcelError('VERSION_NOT_FOUND', 'That version is not known to this device yet')
  }

  /** Which of many versions of a parcel are here, in the order asked. */
  async #holdsEach({ parcel, versions }: v.InferOutput<typeof HoldsEach>): Promise<boolean[]> {
    if (this.#node.evicting) return versions.map(() => false)
    const known = this.#node.registry.versions(Buffer.from(parcel, 'hex'))
    const wanted = new Set(versions)
    const asked = known.filter(({ version }) => wanted.has(version.toString('hex')))
    const local = await this.#node.versions.local(asked)
    const held = new Set(
      asked.filter((_, i) => local[i].whole).map(({ version }) => version.toString('hex'))
    )
    return versions.map((version) => held.has(version))
  }

  /** The device that suspended a parcel grants it to the first one that asks. */
  async #grant(peer: Buffer, id: string): Promise<v.InferOutput<typeof Entries>> {
    const parcel = this.#parcel(id)
    this.#refuseInUse(peer, parcel)
    if (await this.#node.hasLeftovers(parcel.id)) throw unsaved(parcel, this.#node.registry.name)
    // Asked again when the grant's turn comes: a resume may have begun here meanwhile.
    await this.#grantTo(parcel.id, peer, () => this.#refuseInUse(peer, parcel)).catch(
      (err: HyperparcelError) => {
        throw err.code === 'LEASE_SUPERSEDED' ? this.#held(peer, parcel, err) : err
      }
    )
    return { parcel: id, entries: this.#tail(parcel.id) }
  }

  async #handoff(peer: Buffer, id: string): Promise<v.InferOutput<typeof Entries>> {
    const parcel = this.#parcel(id)
    const runner = this.#node.runners.get(parcel.id)
    if (runner?.purpose === 'vm') {
      const to = this.#node.registry.nameOf(peer)
      const message = `handed off to ${to}`
      await suspendParcel(this.#node, parcel, { message, progress: () => {} })
    }
    return this.#grant(peer, id)
  }

  /** Another device was faster, or asked earlier. */
  #held(peer: Buffer, parcel: ParcelInfo, cause: HyperparcelError): HyperparcelError {
    const { leases, registry } = this.#node
    const decision = leases.mayResume(parcel.id)
    if (decision.ok || decision.holder === null) return cause
    const holder = registry.nameOf(decision.holder)
    return leaseRefusal(decision, parcel.name, holder, registry.nameOf(peer))
  }

  #refuseInUse(peer: Buffer, parcel: ParcelInfo): void {
    const { registry, runners } = this.#node
    if (!runners.inUse(parcel.id)) return
    const { name } = registry
    const self = registry.nameOf(peer)
    const runner = runners.get(parcel.id)
    if (runner !== null && runner.purpose !== 'vm') {
      throw new HyperparcelError('LEASE_HELD', `${name} uses ${parcel.name} without its VM`, {
        hint: `End that on ${name}, with Ctrl-C where it is being served; then try again.`,
        context: { parcel: parcel.name, holder: name, running: false }
      })
    }
    throw new HyperparcelError('LEASE_HELD', `${name} runs ${parcel.name} at the moment`, {
      hint: `Take it over from here with \`hyperparcel resume ${parcel.name} --handoff\`, or suspend it there: \`hyperparcel suspend ${parcel.name} --to ${self}\`.`,
      context: { parcel: parcel.name, holder: name, running: true }
    })
  }

  async #grantTo(parcel: Buffer, to: Buffer, check: () => void): Promise<void> {
    const { leases } = this.#node
    const { holder, head } = leases.chain(parcel)
    if (holder !== null && holder.equals(to) && head?.entry.body.released === false) return
    await leases.grant(parcel, to, headVersion(this.#node, parcel)?.version ?? null, check)
  }

  async #deliver({ parcel, entries }: v.InferOutput<typeof Entries>) {
    const id = Buffer.from(parcel, 'hex')
    return { accepted: await this.#node.leases.accept(id, entries.map(decode)) }
  }

  /** The newest entries of a chain, oldest first, base64. */
  #tail(parcel: Buffer): string[] {
    const entries: string[] = []
    let node = this.#node.leases.chain(parcel).head
    for (; node !== null && entries.length < ENTRIES_SENT; node = node.predecessor) {
      entries.unshift(encodeLeaseEntry(node.entry).toString('base64'))
    }
    return entries
  }

  #parcel(id: string): ParcelInfo {
    const parcel = this.#node.registry.parcel(Buffer.from(id, 'hex'))
    if (parcel !== null) return parcel
    throw new HyperparcelError('PARCEL_NOT_FOUND', 'That parcel is not known to this device yet')
  }
}

/** Once the parcel goes on elsewhere, the disk of the crashed run fits no version any more. */
function unsaved({ name }: ParcelInfo, holder: string): HyperparcelError {
  return new HyperparcelError(
    'LEASE_HELD',
    `${name} ended on ${holder} without being suspended: its disk there has changes that no version has`,
    {
      hint: `Keep them there: \`hyperparcel resume ${name} --from-crash disk\`. Or drop them there: \`hyperparcel discard ${name}\`.`,
      context: { parcel: name, holder, running: false }
    }
  )
}

function decode(entry: string): LeaseEntry {
  return decodeLeaseEntry(Buffer.from(entry, 'base64'))
}
