/** Invites as people pass them on: `hp1` and z-base-32, which has no letters that look alike. */
import BlindPairing from 'blind-pairing'
import z32 from 'z32'
import { HyperparcelError } from '../base/errors.ts'
import type { Invite } from '../format/invite.ts'
import {
  INVITE_BYTES_MAX,
  INVITE_CHECKSUM_BYTES,
  decodeInvite,
  encodeInvite
} from '../format/invite.ts'
import { derive, digest } from './derive.ts'
import type { KeyPair } from './sign.ts'
import { keyPair } from './sign.ts'

const PREFIX = 'hp1'
const TEXT_LENGTH_MAX = PREFIX.length + Math.ceil((INVITE_BYTES_MAX * 8) / 5)

/** The invite's text. Its checksum is filled in here. */
export function inviteToText(invite: Omit<Invite, 'checksum'>): string {
  return PREFIX + z32.encode(encodeInvite(withChecksum(invite)))
}

/** Spaces, line breaks, dashes and case do not matter. Throws `INVITE_INVALID`, `FORMAT_TOO_NEW`. */
export function inviteFromText(text: string): Invite {
  const plain = text.replace(/[\s-]/g, '').toLowerCase()
  if (!plain.startsWith(PREFIX) || plain.length > TEXT_LENGTH_MAX) throw invalidInvite()
  try {
    const invite = decodeInvite(z32.decode(plain.slice(PREFIX.length)))
    if (inviteToText(invite) !== plain) throw invalidInvite()
    return invite
  } catch (err) {
    if ((err as { code?: string }).code === 'FORMAT_TOO_NEW') throw err
    throw invalidInvite(err)
  }
}

/** What blind-pairing makes of an invite; both sides derive the same. */
export interface PairingKeys {
  /** Reveals nothing about the fleet. */
  key: Buffer
  id: Buffer
  /** Encoded as blind-pairing wants it. */
  invite: Buffer
  discoveryKey: Buffer
  keyPair: KeyPair
}

export function pairingKeys(invite: Invite): PairingKeys {
  const key = derive(invite.seed, 'invite pairing key')
  const made = BlindPairing.createInvite(key, { seed: invite.seed })
  const { id, discoveryKey } = made
  return { key, id, invite: made.invite, discoveryKey, keyPair: keyPair(invite.seed) }
}

/** Whom the candidate looks for on a local network. */
export function targetOfInvite(text: string): { secret: Buffer; publicKey: Buffer } {
  const { key, keyPair: pair } = pairingKeys(inviteFromText(text))
  return { secret: key, publicKey: pair.publicKey }
}

export function withChecksum(invite: Omit<Invite, 'checksum'>): Invite {
  const blank = { ...invite, checksum: Buffer.alloc(INVITE_CHECKSUM_BYTES) }
  const checksum = digest('invite', encodeInvite(blank)).subarray(0, INVITE_CHECKSUM_BYTES)
  return { ...invite, checksum }
}

function invalidInvite(cause?: unknown): HyperparcelError {
  return new HyperparcelError('INVITE_INVALID', 'This is not an invite, or not all of it', {
    hint: `Copy the whole text, from ${PREFIX} to its end, or ask for a new one.`,
    cause
  })
}
