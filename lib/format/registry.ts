/**
 * Records of the registry: signed by the device that wrote them, never changed. What a record means is in
 * `lib/fleet/view.ts`; signing is in `lib/fleet/records.ts`.
 */
import type { Codec } from './fields.ts'
import {
  blob,
  bool,
  bytes,
  bytes16,
  bytes32,
  bytes64,
  decodeWith,
  encodeWith,
  invalid,
  list,
  oneOf,
  optional,
  struct,
  text,
  uint
} from './fields.ts'
import { defineDocument } from './document.ts'
import { LEASE_ENTRY_BYTES_MAX } from './lease.ts'

/** Names of devices and parcels, UTF-8. */
export const NAME_BYTES_MAX = 64
/** Message of a version, UTF-8. */
export const MESSAGE_BYTES_MAX = 4096
/** Devices in a fleet, removed ones included. */
export const DEVICES_MAX = 256
export const RECORD_BYTES_MAX = 64 * 1024
/** A 32-byte key in a sealed box: ephemeral public key, tag. */
export const BOXED_KEY_BYTES = 32 + 32 + 16
/** A 32-byte key under another: nonce, tag. */
export const WRAPPED_KEY_BYTES = 24 + 32 + 16

export type Role = 'device' | 'cache'
/** Numbers are final. */
export const ROLE: Readonly<Record<Role, number>> = { device: 1, cache: 2 }

/** First record of a fleet. The fleet's id is a hash of its author and these fields, so it proves itself. */
export interface GenesisBody {
  /** Of the author, the first device. */
  name: string
  /** Ed25519, from the recovery phrase. */
  recoveryKey: Buffer
  nonce: Buffer
}

/** The fleet key of one key epoch, for everybody who may have it. The one record that is stored unsealed. */
export interface KeyEpochBody {
  /** From 1. */
  epoch: number
  /** The fleet key, in a box for the recovery key and for each device; a reader tries all. */
  boxes: Buffer[]
  /** The fleet key of the epoch before, under this one. */
  previous: Buffer | null
  /** The dedup key under this fleet key. */
  dedup: Buffer
}

/** The author admits a device or a cache, or gives a known one another name. */
export interface DeviceBody {
  publicKey: Buffer
  name: string
  role: Role
}

/** The author removes a device; of its logs only so much is accepted. */
export interface DeviceRemovedBody {
  publicKey: Buffer
  logs: { log: Buffer; length: number; treeHash: Buffer }[]
}

/** A parcel that the author created at the record's time. */
export interface ParcelBody {
  parcel: Buffer
  name: string
  /** Of the fleet key that wraps the parcel's key. */
  keyEpoch: number
  wrappedKey: Buffer
}

export interface ParcelNameBody {
  parcel: Buffer
  name: string
}

export interface ParcelRemovedBody {
  parcel: Buffer
}

/** How hard what devices add to a parcel from now on is compressed. */
export interface ParcelCompressionBody {
  parcel: Buffer
  /** A level of zstd. */
  level: number
}

/** The author writes that log for that parcel. */
export interface LogBody {
  parcel: Buffer
  log: Buffer
}

/** A durable version that the author made at the record's time. */
export interface VersionBody {
  parcel: Buffer
  version: Buffer
  number: number
  parent: Buffer | null
  /** Hash of the lease entry under which it was made. */
  lease: Buffer
  /** Log and index of the block with the version record. */
  log: Buffer
  block: number
  message: string
  bytesNew: number
  bytesTotal: number
  hasMemory: boolean
  /** Of a branch beside the parcel's line: `N@device`. */
  branch: string | null
}

/** What an annex says of its version. Numbers are final; others are of later releases. */
export const ANNEX_PURPOSE = { REISSUED_MAP: 1, RESUME_PACK: 2 } as const

/** The author offers an annex of a version: a hint, checked by whoever uses it. */
export interface AnnexBody {
  parcel: Buffer
  version: Buffer
  /** One of `ANNEX_PURPOSE`, or unknown. */
  purpose: number
  /** Of one author's annexes with one purpose, the one with the highest counts. */
  serial: number
  /** Where its block is. */
  log: Buffer
  block: number
}

/** A lease entry as `lease.ts` encodes it; whoever signed that, the author keeps it durably. */
export interface LeaseRecordBody {
  entry: Buffer
}

export interface RecordBodies {
  genesis: GenesisBody
  'key-epoch': KeyEpochBody
  device: DeviceBody
  'device-removed': DeviceRemovedBody
  parcel: ParcelBody
  'parcel-name': ParcelNameBody
  'parcel-removed': ParcelRemovedBody
  log: LogBody
  version: VersionBody
  lease: LeaseRecordBody
  annex: AnnexBody
  'parcel-compression': ParcelCompressionBody
}

export type RecordKind = keyof RecordBodies

/** Numbers are final. */
export const RECORD_KIND: Readonly<Record<RecordKind, number>> = {
  genesis: 1,
  'key-epoch': 2,
  device: 3,
  'device-removed': 4,
  parcel: 5,
  'parcel-name': 6,
  'parcel-removed': 7,
  log: 8,
  version: 9,
  lease: 10,
  annex: 11,
  'parcel-compression': 12
}

const name = text(NAME_BYTES_MAX)

const BODY: { readonly [K in RecordKind]: Codec<RecordBodies[K]> } = {
  genesis: struct<GenesisBody>({ name, recoveryKey: bytes32, nonce: bytes16 }),
  'key-epoch': struct<KeyEpochBody>({
    epoch: uint,
    boxes: list(bytes(BOXED_KEY_BYTES), DEVICES_MAX + 1),
    previous: optional(bytes(WRAPPED_KEY_BYTES)),
    dedup: bytes(WRAPPED_KEY_BYTES)
  }),
  device: struct<DeviceBody>({ publicKey: bytes32, name, role: oneOf(ROLE) }),
  'device-removed': struct<DeviceRemovedBody>({
    publicKey: bytes32,
    logs: list(struct({ log: bytes32, length: uint, treeHash: bytes32 }), 512)
  }),
  parcel: struct<ParcelBody>({
    parcel: bytes16,
    name,
    keyEpoch: uint,
    wrappedKey: bytes(WRAPPED_KEY_BYTES)
  }),
  'parcel-name': struct<ParcelNameBody>({ parcel: bytes16, name }),
  'parcel-removed': struct<ParcelRemovedBody>({ parcel: bytes16 }),
  log: struct<LogBody>({ parcel: bytes16, log: bytes32 }),
  version: struct<VersionBody>({
    parcel: bytes16,
    version: bytes32,
    number: uint,
    parent: optional(bytes32),
    lease: bytes32,
    log: bytes32,
    block: uint,
    message: text(MESSAGE_BYTES_MAX),
    bytesNew: uint,
    bytesTotal: uint,
    hasMemory: bool,
    branch: optional(text(2 * NAME_BYTES_MAX))
  }),
  lease: struct<LeaseRecordBody>({ entry: blob(LEASE_ENTRY_BYTES_MAX) }),
  annex: struct<AnnexBody>({
    parcel: bytes16,
    version: bytes32,
    purpose: uint,
    serial: uint,
    log: bytes32,
    block: uint
  }),
  'parcel-compression': struct<ParcelCompressionBody>({ parcel: bytes16, level: uint })
}

/** What a record has besides its kind and body. */
interface RecordFrame {
  /** Public key of the device that signed it. */
  author: Buffer
  /** Milliseconds since the epoch, by the author's clock. */
  time: number
  signature: Buffer
}

export type RecordOf<K extends RecordKind> = RecordFrame & { kind: K; body: RecordBodies[K] }

export type RegistryRecord = { [K in RecordKind]: RecordOf<K> }[RecordKind]

/** A record to be: its author, time and signature are added by whoever appends it. */
export type RecordDraft = {
  [K in RecordKind]: { kind: K; body: RecordBodies[K] }
}[RecordKind]

interface Envelope {
  kind: number
  author: Buffer
  time: number
  body: Buffer
  signature: Buffer
}

const SIGNATURE_BYTES = 64

const ENVELOPE = defineDocument<Envelope>({
  what: 'a registry record',
  magic: 'HPRR',
  format: 1,
  bytesMax: RECORD_BYTES_MAX,
  body: struct<Envelope>({
    kind: uint,
    author: bytes32,
    time: uint,
    body: blob(RECORD_BYTES_MAX),
    signature: bytes64
  })
})

export function encodeRecord(record: RegistryRecord): Buffer {
  return ENVELOPE.encode({
    kind: RECORD_KIND[record.kind],
    author: record.author,
    time: record.time,
    body: encodeBody(record),
    signature: record.signature
  })
}

/**
 * Null for a kind of a later release: such records are ignored. The signature is not looked at.
 * Throws `FORMAT_INVALID`, `FORMAT_TOO_NEW`.
 */
export function decodeRecord(data: Uint8Array): RegistryRecord | null {
  const { kind: number, author, time, body: encoded, signature } = ENVELOPE.decode(data)
  const kind = KIND_OF_NUMBER.get(number)
  if (kind === undefined) return null
  const codec = BODY[kind] as Codec<unknown>
  const body = decodeWith(codec, encoded)
  if (!encodeWith(codec, body).equals(encoded)) {
    throw invalid('This is not the one encoding of a registry record')
  }
  return { kind, author, time, body, signature } as RegistryRecord
}

/** The part of an encoded record that its signature covers. */
export function signedPart(encoded: Buffer): Buffer {
  return encoded.subarray(0, encoded.byteLength - SIGNATURE_BYTES)
}

const KIND_OF_NUMBER = new Map<number, RecordKind>(
  (Object.keys(RECORD_KIND) as RecordKind[]).map((kind) => [RECORD_KIND[kind], kind])
)

function encodeBody<K extends RecordKind>(record: { kind: K; body: RecordBodies[K] }): Buffer {
  return encodeWith<RecordBodies[K]>(BODY[record.kind], record.body)
}
