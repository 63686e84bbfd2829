/**
 * What pairing exchanges: the invite (a text for people), the candidate's request and the member's answer.
 * Request and answer may travel as mutable records of the DHT, which hold 1000 bytes: keep both small.
 */
import {
  blob,
  bool,
  bytes,
  bytes16,
  bytes32,
  bytes64,
  list,
  oneOf,
  optional,
  struct,
  text,
  uint
} from './fields.ts'
import { defineDocument } from './document.ts'
import type { Role } from './registry.ts'
import { NAME_BYTES_MAX, ROLE } from './registry.ts'
import { DEVICE_CARD_BYTES_MAX } from './device-card.ts'

/** Bootstrap nodes of a private DHT that an invite may carry. */
export const INVITE_BOOTSTRAP_MAX = 4
export const INVITE_BYTES_MAX = 512
export const JOIN_REQUEST_BYTES_MAX = 256
export const JOIN_ANSWER_BYTES_MAX = 512

/** The content of an invite's text. Whoever has it may join: it is a secret until it is used or expired. */
export interface Invite {
  role: Role
  /** Seconds since the epoch. */
  expires: number
  /** The only secret; all keys of the invite come from it. */
  seed: Buffer
  /** `host:port`; empty on the public DHT. */
  bootstrap: string[]
  /** First bytes of a hash of the fields before, against typing errors. */
  checksum: Buffer
}

export const INVITE_CHECKSUM_BYTES = 4

const INVITE = defineDocument<Invite>({
  what: 'an invite',
  magic: 'HPIN',
  format: 1,
  bytesMax: INVITE_BYTES_MAX,
  body: struct<Invite>({
    role: oneOf(ROLE),
    expires: uint,
    seed: bytes32,
    bootstrap: list(text(100), INVITE_BOOTSTRAP_MAX),
    checksum: bytes(INVITE_CHECKSUM_BYTES)
  })
})

/** What a candidate says of itself, signed with the device key that it wants admitted. */
export interface JoinRequest {
  publicKey: Buffer
  name: string
  role: Role
  nonce: Buffer
  signature: Buffer
}

const REQUEST = defineDocument<JoinRequest>({
  what: 'a request to join',
  magic: 'HPJR',
  format: 1,
  bytesMax: JOIN_REQUEST_BYTES_MAX,
  body: struct<JoinRequest>({
    publicKey: bytes32,
    name: text(NAME_BYTES_MAX),
    role: oneOf(ROLE),
    nonce: bytes16,
    signature: bytes64
  })
})

/** What an admitted candidate needs to start. Travels in a box for its device key. */
export interface JoinAnswer {
  fleet: Buffer
  /** As it stands in the registry: another than the candidate's wish where that was taken. */
  name: string
  role: Role
  /** Null for a cache. */
  keys: JoinKeys | null
  /** Where the fleet's members meet. */
  topic: Buffer
  /** Card of the member that admits it. */
  card: Buffer
}

export interface JoinKeys {
  epoch: number
  fleetKey: Buffer
  dedupKey: Buffer
}

const ANSWER = defineDocument<JoinAnswer>({
  what: 'an answer to a request to join',
  magic: 'HPJA',
  format: 1,
  bytesMax: JOIN_ANSWER_BYTES_MAX,
  body: struct<JoinAnswer>({
    fleet: bytes32,
    name: text(NAME_BYTES_MAX),
    role: oneOf(ROLE),
    keys: optional(struct<JoinKeys>({ epoch: uint, fleetKey: bytes32, dedupKey: bytes32 })),
    topic: bytes32,
    card: blob(DEVICE_CARD_BYTES_MAX)
  })
})

/** The invites that a device gave out, as it stores them (under its local key). */
export interface InviteState {
  invite: Buffer
  /** Public key of the device that used it. */
  usedBy: Buffer | null
  /** Taken back by the user. */
  cancelled: boolean
}

export const INVITES_MAX = 64

const BOOK = defineDocument<{ invites: InviteState[] }>({
  what: 'a list of invites',
  magic: 'HPIB',
  format: 1,
  bytesMax: INVITES_MAX * (INVITE_BYTES_MAX + 64),
  body: struct<{ invites: InviteState[] }>({
    invites: list(
      struct<InviteState>({
        invite: blob(INVITE_BYTES_MAX),
        usedBy: optional(bytes32),
        cancelled: bool
      }),
      INVITES_MAX
    )
  })
})

export const encodeInvite = INVITE.encode
export const decodeInvite = INVITE.decode
export const encodeJoinRequest = REQUEST.encode
export const decodeJoinRequest = REQUEST.decode
export const encodeJoinAnswer = ANSWER.encode
export const decodeJoinAnswer = ANSWER.decode
export const encodeInviteBook = BOOK.encode
export const decodeInviteBook = BOOK.decode
