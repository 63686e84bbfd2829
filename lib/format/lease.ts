/**
 * Entries of a parcel's lease chain. An entry is named by a hash of its body (`lib/lease/entry.ts`), so more
 * signatures (votes) never rename it.
 */
import { bool, bytes16, bytes32, bytes64, list, oneOf, optional, struct, uint } from './fields.ts'
import { DOCUMENT_HEADER_BYTES, defineDocument } from './document.ts'

export const VOTERS_MAX = 256
export const LEASE_ENTRY_BYTES_MAX = 36 * 1024

/**
 * Why the lease changed. Whose signatures an entry needs depends on it:
 * `create` the parcel's creator; `grant` and `release` the holder before; `take-back`, `break` and `voters` a
 * majority of the voters (or the recovery key for a break); `forced` the new holder, on the user's word.
 */
export type LeaseReason =
  'create' | 'grant' | 'release' | 'take-back' | 'break' | 'forced' | 'voters'

/** Numbers are final. */
export const LEASE_REASON: Readonly<Record<LeaseReason, number>> = {
  create: 1,
  grant: 2,
  release: 3,
  'take-back': 4,
  break: 5,
  forced: 6,
  voters: 7
}

export interface LeaseBody {
  /** Hash of the entry before; null in the first one. */
  predecessor: Buffer | null
  parcel: Buffer
  /** Public key of the device that may write; of a released lease: who grants it to the first asker. */
  holder: Buffer
  /** Nobody may write before a further grant. */
  released: boolean
  /** From 1; one more than the predecessor's. */
  epoch: number
  /** Id of the version from which the holder starts; null while there is none. */
  version: Buffer | null
  /** Public keys, ascending: who may break this entry, by majority. */
  voters: Buffer[]
  reason: LeaseReason
  /** Milliseconds since the epoch, for people only. */
  time: number
}

export interface LeaseSignature {
  signer: Buffer
  signature: Buffer
}

export interface LeaseEntry {
  body: LeaseBody
  /** By signer, ascending; of each signer one. */
  signatures: LeaseSignature[]
}

const body = struct<LeaseBody>({
  predecessor: optional(bytes32),
  parcel: bytes16,
  holder: bytes32,
  released: bool,
  epoch: uint,
  version: optional(bytes32),
  voters: list(bytes32, VOTERS_MAX),
  reason: oneOf(LEASE_REASON),
  time: uint
})

const shared = { magic: 'HPLE', format: 1 }

const BODY = defineDocument<LeaseBody>({
  ...shared,
  what: 'the body of a lease entry',
  bytesMax: DOCUMENT_HEADER_BYTES + 160 + 32 * VOTERS_MAX,
  body
})

const ENTRY = defineDocument<LeaseEntry>({
  ...shared,
  what: 'a lease entry',
  bytesMax: LEASE_ENTRY_BYTES_MAX,
  body: struct<LeaseEntry>({
    body,
    signatures: list(
      struct<LeaseSignature>({ signer: bytes32, signature: bytes64 }),
      VOTERS_MAX + 1
    )
  })
})

/** What an entry's name is the hash of: magic, format, body. */
export function encodeLeaseBody(value: LeaseBody): Buffer {
  return BODY.encode(value)
}

export function encodeLeaseEntry(entry: LeaseEntry): Buffer {
  return ENTRY.encode(entry)
}

/** Throws `FORMAT_INVALID`, `FORMAT_TOO_NEW`. Signatures are not looked at. */
export function decodeLeaseEntry(data: Uint8Array): LeaseEntry {
  return ENTRY.decode(data)
}
