/**
 * Invites and who comes with one: the member's side of pairing, over blind-pairing. That library has neither
 * expiry nor single use; both are here.
 *
 * Invariants
 * - An invite admits one device key. That it was used is durable before the device is admitted, and the
 *   admission is durable before the answer leaves. The same device may ask again, should the answer get lost.
 * - While `openInvites` is above 0 strangers may connect, for pairing only; else the firewall keeps them out.
 *   A used invite is still answered (with a refusal) until it expires: through the DHT, and on a local network, where
 *   a caller shows that it knows the invite.
 * - Anybody can send a request: nothing of it counts before it opens with the invite's key.
 *
 * Events: `open-invites` (count) when it changed; `paired` (PairedDevice); `problem` (HyperparcelError).
 */
import BlindPairing from 'blind-pairing'
import ReadyResource from 'ready-resource'
import safetyCatch from 'safety-catch'
import { systemClock } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { HyperparcelError, assert } from '../base/errors.ts'
import type { JoinRequest } from '../format/invite.ts'
import { encodeJoinAnswer } from '../format/invite.ts'
import type { Role } from '../format/registry.ts'
import { randomBytes, wipe } from './derive.ts'
import { InviteBook } from './invite-book.ts'
import type { GivenInvite } from './invite-book.ts'
import { inviteToText, pairingKeys, withChecksum } from './invite-text.ts'
import type { PairingKeys } from './invite-text.ts'
import { openJoinRequest } from './join-request.ts'
import type { Registry } from './registry.ts'
import { signRaw, type KeyPair } from './sign.ts'
import { boxFor } from './wrap.ts'

/** How often both sides look into the DHT; a direct connection does not wait for it. */
export const PAIRING_POLL_MS = 5000
/** An invite is given out when it can be found, or after that long. */
const ANNOUNCE_MS_MAX = 5000
/** Timers hold at most that long. */
const TIMER_MS_MAX = 2 ** 31 - 1

export interface PairingOptions {
  /** A Hyperswarm whose key is the device key. */
  swarm: object
  registry: Registry
  /** `<home>/keys`. */
  keysDirectory: string
  pollMs?: number
  clock?: Clock
}

export interface InviteOptions {
  role: Role
  expiresMs: number
  /** `host:port` of a private DHT's bootstrap nodes, for the candidate. */
  bootstrap?: string[]
}

export interface PairedDevice {
  publicKey: Buffer
  /** As the fleet calls it. */
  name: string
  role: Role
  /** Text of the invite that it came with. */
  invite: string
}

interface Open {
  given: GivenInvite
  text: string
  keys: PairingKeys
  member: BlindPairing.Member
  timer: NodeJS.Timeout
  /** Requests are answered one at a time. */
  tail: Promise<void>
}

export class Pairing extends ReadyResource {
  readonly #registry: Registry
  readonly #pairing: BlindPairing
  readonly #book: InviteBook
  readonly #clock: Clock
  readonly #open = new Map<string, Open>()
  #counted = 0

  constructor(opts: PairingOptions) {
    super()
    const { swarm, registry, keysDirectory, pollMs = PAIRING_POLL_MS, clock = systemClock } = opts
    this.#registry = registry
    this.#clock = clock
    this.#pairing = new BlindPairing(swarm, { poll: pollMs })
    this.#book = new InviteBook(keysDirectory, registry.identity.device, clock)
  }

  protected override async _open(): Promise<void> {
    await this.#pairing.ready()
    await this.#book.load()
    for (const given of this.#book.list()) this.#serve(given)
    this.#count()
  }

  protected override async _close(): Promise<void> {
    for (const { timer } of this.#open.values()) clearTimeout(timer)
    await this.#pairing.close()
    await Promise.all([...this.#open.values()].map(({ tail }) => tail))
    this.#open.clear()
    this.#count()
  }

  /** Invites that somebody may still use. */
  get openInvites(): number {
    let count = 0
    for (const { given } of this.#open.values()) if (this.#isOpen(given)) count++
    return count
  }

  /** By which this device can be called on a local network, of used invites, too: who comes with one is told. */
  get identities(): { secret: Buffer; keyPair: KeyPair }[] {
    return [...this.#open.values()].map(({ keys }) => ({
      secret: keys.key,
      keyPair: keys.keyPair
    }))
  }

  /** A new invite, for one device or cache. Rejects with `INVITES_EXHAUSTED`. */
  async createInvite(opts: InviteOptions): Promise<{ text: string; expires: number }> {
    assert(this.opened && opts.expiresMs > 0, 'an invite lasts')
    const expires = Math.ceil((this.#clock.now() + opts.expiresMs) / 1000)
    const { role, bootstrap = [] } = opts
    const invite = withChecksum({ role, expires, seed: randomBytes(32), bootstrap })
    const { member, text } = this.#serve(await this.#book.add(invite))
    this.#count()
    await within(member.flushed(), ANNOUNCE_MS_MAX)
    return { text, expires: expires * 1000 }
  }

  /** Nobody can use it any more; what was paired with it stays. */
  async cancelInvite(text: string): Promise<void> {
    const open = this.#open.get(text)
    if (open === undefined || !this.#isOpen(open.given)) return
    await this.#book.cancel(open.given)
    this.emit('cancelled', text)
    this.#count()
  }

  /** Resolves when somebody used it. Rejects with `INVITE_EXPIRED`, or the signal's reason. */
  async waitForUse(text: string, signal?: AbortSignal): Promise<PairedDevice> {
    signal?.throwIfAborted()
    return new Promise((resolve, reject) => {
      const onpaired = (device: PairedDevice): void => {
        if (device.invite === text) done(() => resolve(device))
      }
      const onend = (ended: string): void => {
        if (ended === text) done(() => reject(expired()))
      }
      const onabort = (): void => done(() => reject(signal!.reason as Error))
      const onclose = (): void => done(() => reject(closed()))
      const done = (settle: () => void): void => {
        this.off('paired', onpaired).off('expired', onend).off('cancelled', onend)
        this.off('close', onclose)
        signal?.removeEventListener('abort', onabort)
        settle()
      }
      this.on('paired', onpaired).on('expired', onend).on('cancelled', onend)
      this.once('close', onclose)
      signal?.addEventListener('abort', onabort, { once: true })
      const given = this.#open.get(text)?.given
      if (given === undefined || given.cancelled) return onend(text)
      const device = given.usedBy && this.#registry.device(given.usedBy)
      if (device) onpaired({ ...device, invite: text })
    })
  }

  #serve(given: GivenInvite): Open {
    const text = inviteToText(given.invite)
    const keys = pairingKeys(given.invite)
    const member = this.#pairing.addMember({
      discoveryKey: keys.discoveryKey,
      onadd: (request) => this.#onrequest(open, request)
    })
    guard(member)
    const timer = setTimeout(() => this.#tick(open), 0)
    const open: Open = { given, text, keys, member, timer, tail: Promise.resolve() }
    this.#open.set(text, open)
    return open
  }

  /** Waits for the invite to expire, in steps that timers can hold. */
  #tick(open: Open): void {
    const left = open.given.invite.expires * 1000 - this.#clock.now()
    if (left > 0) {
      open.timer = setTimeout(() => this.#tick(open), Math.min(left, TIMER_MS_MAX))
      return
    }
    this.#open.delete(open.text)
    open.member.close().catch(safetyCatch)
    this.emit('expired', open.text)
    this.#count()
  }

  async #onrequest(open: Open, request: BlindPairing.MemberRequest): Promise<void> {
    const step = open.tail.then(() => this.#answer(open, request))
    open.tail = step.catch((err: unknown) => {
      if (!this.closing) this.emit('problem', HyperparcelError.from(err))
    })
    await open.tail
  }

  async #answer(open: Open, request: BlindPairing.MemberRequest): Promise<void> {
    const { given, keys } = open
    let asked: JoinRequest
    try {
      asked = openJoinRequest(request.open(keys.keyPair.publicKey), keys.id)
    } catch {
      return // Not made with this invite: noise, or an attack.
    }
    if (given.invite.expires * 1000 <= this.#clock.now()) return request.deny({ status: 3 })
    const isAgain = given.usedBy !== null && given.usedBy.equals(asked.publicKey)
    if (given.cancelled || (given.usedBy !== null && !isAgain)) return request.deny({ status: 2 })
    if (asked.role !== given.invite.role) return request.deny({ status: 1 })
    try {
      if (!isAgain) await this.#book.use(given, asked.publicKey)
      this.#count()
      const name = await this.#registry.admitDevice(asked.publicKey, asked.name, asked.role)
      const data = this.#box(asked, name)
      const signature = signRaw(keys.keyPair, data)
      request.confirm({ key: keys.key, additional: { data, signature } })
      const { publicKey, role } = asked
      this.emit('paired', { publicKey, name, role, invite: open.text } satisfies PairedDevice)
    } catch (err) {
      request.deny({ status: 1 })
      throw err
    }
  }

  /** The answer, which only the candidate's device key opens: the invite alone is not enough to read it. */
  #box(asked: JoinRequest, name: string): Buffer {
    const { keyring, identity } = this.#registry
    const keys =
      asked.role === 'device'
        ? { epoch: keyring.epoch, fleetKey: keyring.fleetKey(), dedupKey: keyring.dedupKey }
        : null
    const answer = encodeJoinAnswer({
      fleet: identity.fleet,
      name,
      role: asked.role,
      keys,
      topic: keyring.topic,
      card: this.#registry.cards()[0]
    })
    const box = boxFor(asked.publicKey, answer)
    wipe(answer)
    return box
  }

  #isOpen(given: GivenInvite): boolean {
    const isExpired = given.invite.expires * 1000 <= this.#clock.now()
    return !isExpired && given.usedBy === null && !given.cancelled
  }

  #count(): void {
    const count = this.openInvites
    if (count === this.#counted) return
    this.#counted = count
    this.emit('open-invites', count)
  }
}

/**
 * A malformed request makes blind-pairing throw a TypeError where nobody awaits it, which would end the process:
 * any stranger could. It counts as no request.
 */
function guard(member: BlindPairing.Member): void {
  const addRequest = member._addRequest.bind(member)
  member._addRequest = async (value) => {
    try {
      return await addRequest(value)
    } catch {
      return null
    }
  }
}

async function within(promise: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise((resolve) => (timer = setTimeout(resolve, ms)))
  await Promise.race([promise.catch(() => {}), limit])
  clearTimeout(timer)
}

function expired(): HyperparcelError {
  return new HyperparcelError('INVITE_EXPIRED', 'Nobody used the invite in time', {
    hint: 'Make a new one with `hyperparcel invite`.'
  })
}

function closed(): HyperparcelError {
  return new HyperparcelError('PAIRING_CLOSED', 'The daemon is stopping')
}
