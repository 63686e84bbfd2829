/**
 * The invites that this device gave out, `<home>/keys/invites`, under its local key. An invite that was used or
 * cancelled is stored as such before anybody is told, so that a restart does not revive it.
 */
import path from 'node:path'
import { writeFileDurable } from '../base/files.ts'
import type { Clock } from '../base/clock.ts'
import { HyperparcelError, assert } from '../base/errors.ts'
import type { Invite } from '../format/invite.ts'
import {
  INVITES_MAX,
  decodeInvite,
  decodeInviteBook,
  encodeInvite,
  encodeInviteBook
} from '../format/invite.ts'
import { localKey, readPrivate } from './device-key.ts'
import type { KeyPair } from './sign.ts'
import { unwrap, wrap } from './wrap.ts'

export interface GivenInvite {
  readonly invite: Invite
  /** Public key of the device that used it. */
  usedBy: Buffer | null
  cancelled: boolean
}

export class InviteBook {
  readonly #file: string
  readonly #device: KeyPair
  readonly #clock: Clock
  #invites: GivenInvite[] = []
  #saving: Promise<void> = Promise.resolve()

  constructor(keysDirectory: string, device: KeyPair, clock: Clock) {
    this.#file = path.join(keysDirectory, 'invites')
    this.#device = device
    this.#clock = clock
  }

  async load(): Promise<void> {
    const sealed = await readPrivate(this.#file)
    if (sealed === null) return
    const data = unwrap(this.#key, sealed, this.#device.publicKey)
    this.#invites = decodeInviteBook(data).invites.map(({ invite, usedBy, cancelled }) => ({
      invite: decodeInvite(invite),
      usedBy,
      cancelled
    }))
    this.#prune()
  }

  list(): readonly GivenInvite[] {
    return this.#invites
  }

  /** Rejects with `INVITES_EXHAUSTED`. */
  async add(invite: Invite): Promise<GivenInvite> {
    this.#prune()
    if (this.#invites.length >= INVITES_MAX) {
      throw new HyperparcelError('INVITES_EXHAUSTED', `${INVITES_MAX} invites are still valid`, {
        hint: 'Wait until some of them expire.'
      })
    }
    const given: GivenInvite = { invite, usedBy: null, cancelled: false }
    this.#invites.push(given)
    await this.#save()
    return given
  }

  /** Durable when it resolves. */
  async use(given: GivenInvite, publicKey: Buffer): Promise<void> {
    assert(given.usedBy === null, 'an invite is used once')
    given.usedBy = Buffer.from(publicKey)
    await this.#save()
  }

  async cancel(given: GivenInvite): Promise<void> {
    given.cancelled = true
    await this.#save()
  }

  get #key(): Buffer {
    return localKey(this.#device, 'local invites')
  }

  /** Expired ones need no memory: their text says so itself. */
  #prune(): void {
    const now = this.#clock.now() / 1000
    this.#invites = this.#invites.filter(({ invite }) => invite.expires > now)
  }

  #save(): Promise<void> {
    const data = encodeInviteBook({
      invites: this.#invites.map(({ invite, usedBy, cancelled }) => ({
        invite: encodeInvite(invite),
        usedBy,
        cancelled
      }))
    })
    const sealed = wrap(this.#key, data, this.#device.publicKey)
    const saving = this.#saving.then(() => writeFileDurable(this.#file, sealed, 0o600))
    this.#saving = saving.catch(() => {})
    return saving
  }
}
