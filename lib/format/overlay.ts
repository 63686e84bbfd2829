/**
 * Byte layout of an overlay file: copies of a header block, then slots. See `README.md` for the bytes.
 * Sealing and the rules of use are in `lib/volume`.
 */
import sodium from 'sodium-universal'
import { HyperparcelError, assert } from '../base/errors.ts'
import { CHUNK_BYTES, VOLUME_BYTES_MAX } from '../base/limits.ts'

export const OVERLAY_MAGIC = 0x564f5048 // "HPOV", little endian
export const OVERLAY_FORMAT = 2

/** One copy of the header. */
export const OVERLAY_HEADER_BYTES = 4096
/** Each header is written twice in a row: a block that is damaged takes nothing with it. */
export const OVERLAY_PAIR_BYTES = 2 * OVERLAY_HEADER_BYTES
/** Slots start here, behind the pairs of even and of odd counters. */
export const OVERLAY_SLOTS_AT = 2 * OVERLAY_PAIR_BYTES
export const OVERLAY_ID_BYTES = 16
/** Name of the volume, base id and commit id, each in UTF-8. */
export const OVERLAY_TEXT_BYTES_MAX = 64
export const OVERLAY_SEALED_KEY_BYTES_MAX = 512

export const SLOT_HEADER_BYTES = 24
export const SLOT_NONCE_AT = SLOT_HEADER_BYTES
export const SLOT_DATA_AT = SLOT_NONCE_AT + 24
/** The header once more, so that a slot whose data is damaged still says which chunk was hit. */
export const SLOT_HEADER_AGAIN_AT = SLOT_DATA_AT + CHUNK_BYTES + 16
/** Header, nonce, sealed chunk, tag, header. */
export const SLOT_BYTES = SLOT_HEADER_AGAIN_AT + SLOT_HEADER_BYTES

/** What a slot says. Numbers are final. */
export const SLOT_KIND = {
  /** The content of one chunk. */
  DATA: 1,
  /** A range of chunks reads as zeros. */
  TOMBSTONE: 2
} as const

const FLAG_DURABLE = 1
const FLAG_CLAIM = 2
const MAC_AT = OVERLAY_HEADER_BYTES - 64
const CHECKSUM_AT = OVERLAY_HEADER_BYTES - 32
const SEALED_KEY_AT = 256
const CLAIM_AT = SEALED_KEY_AT + OVERLAY_SEALED_KEY_BYTES_MAX
export const CLAIM_DIGEST_BYTES = 32
const MAC_CONTEXT = Buffer.from('hyperparcel overlay header')

/** Which slots a power cut cannot have taken. */
export interface SyncClaim {
  /** All slots up to here were synced when the header was written. */
  sequence: number
  /** Where a frozen generation ended that no version had taken yet; 0 when there was none. */
  frozenSequence: number
  /** Of the slots up to `sequence` that were in use: see `lib/volume/live-slots.ts`. */
  digest: Buffer
}

export interface OverlayHeader {
  /** Grows with each rewrite; the valid copy with the higher one counts. */
  counter: number
  /** False: nothing in the file is promised to survive a power cut. */
  durable: boolean
  /** 16 random bytes. */
  overlayId: Buffer
  sizeBytes: number
  /** Slots up to this sequence are part of the base already. */
  floorSequence: number
  /** Names the commit that takes the slots up to `commitSequence`; empty when there is none. */
  commitId: string
  commitSequence: number
  /** Number and name of the volume in its parcel. */
  volume: number
  name: string
  /** The version that the overlay lies on. */
  baseId: string
  /** The slot key as the device sealed it. */
  sealedKey: Buffer
  /** Null: nothing is promised. */
  claim: SyncClaim | null
}

/** One copy of the header as 4096 bytes, authenticated with the slot key. */
export function encodeOverlayHeader(header: OverlayHeader, key: Buffer): Buffer {
  const block = Buffer.alloc(OVERLAY_HEADER_BYTES)
  block.writeUInt32LE(OVERLAY_MAGIC, 0)
  block.writeUInt16LE(OVERLAY_FORMAT, 4)
  const { claim } = header
  const flags = (header.durable ? FLAG_DURABLE : 0) | (claim === null ? 0 : FLAG_CLAIM)
  block.writeUInt16LE(flags, 6)
  writeUint64(block, header.counter, 8)
  header.overlayId.copy(block, 16, 0, OVERLAY_ID_BYTES)
  writeUint64(block, header.sizeBytes, 32)
  writeUint64(block, header.floorSequence, 40)
  writeUint64(block, header.commitSequence, 48)
  block.writeUInt16LE(header.volume, 56)
  writeText(block, header.name, 58, 64)
  writeText(block, header.baseId, 59, 128)
  writeText(block, header.commitId, 60, 192)
  assert(header.sealedKey.byteLength <= OVERLAY_SEALED_KEY_BYTES_MAX, 'a sealed key is too long')
  block.writeUInt16LE(header.sealedKey.byteLength, 62)
  header.sealedKey.copy(block, SEALED_KEY_AT)
  if (claim !== null) {
    writeUint64(block, claim.sequence, CLAIM_AT)
    writeUint64(block, claim.frozenSequence, CLAIM_AT + 8)
    claim.digest.copy(block, CLAIM_AT + 16, 0, CLAIM_DIGEST_BYTES)
  }
  headerMac(block, key).copy(block, MAC_AT)
  checksum(block).copy(block, CHECKSUM_AT)
  return block
}

/**
 * Decodes one copy, or null where it is torn or was never written. Not authenticated yet: see
 * `verifyOverlayHeader`. Throws `FORMAT_TOO_NEW`, `FORMAT_TOO_OLD`.
 */
export function decodeOverlayHeader(block: Buffer): OverlayHeader | null {
  if (block.byteLength !== OVERLAY_HEADER_BYTES) return null
  if (block.readUInt32LE(0) !== OVERLAY_MAGIC) return null
  if (!checksum(block).equals(block.subarray(CHECKSUM_AT))) return null
  const format = block.readUInt16LE(4)
  if (format > OVERLAY_FORMAT) {
    throw new HyperparcelError('FORMAT_TOO_NEW', `An overlay has format ${format}`, {
      hint: 'It was written by a newer Hyperparcel: update this device.'
    })
  }
  if (format < OVERLAY_FORMAT) {
    throw new HyperparcelError('FORMAT_TOO_OLD', `An overlay has format ${format}`, {
      hint: 'It was written by an older Hyperparcel: suspend with that one first, or go back to the last version.'
    })
  }
  const flags = block.readUInt16LE(6)
  const sizeBytes = readUint64(block, 32)
  const sealedKeyBytes = block.readUInt16LE(62)
  if (sizeBytes > VOLUME_BYTES_MAX) return null
  if (sealedKeyBytes > OVERLAY_SEALED_KEY_BYTES_MAX) return null
  for (const at of [58, 59, 60]) if (block.readUInt8(at) > OVERLAY_TEXT_BYTES_MAX) return null
  return {
    counter: readUint64(block, 8),
    durable: (flags & FLAG_DURABLE) !== 0,
    overlayId: Buffer.from(block.subarray(16, 16 + OVERLAY_ID_BYTES)),
    sizeBytes,
    floorSequence: readUint64(block, 40),
    commitSequence: readUint64(block, 48),
    volume: block.readUInt16LE(56),
    name: readText(block, 58, 64),
    baseId: readText(block, 59, 128),
    commitId: readText(block, 60, 192),
    sealedKey: Buffer.from(block.subarray(SEALED_KEY_AT, SEALED_KEY_AT + sealedKeyBytes)),
    claim: (flags & FLAG_CLAIM) === 0 ? null : readClaim(block)
  }
}

function readClaim(block: Buffer): SyncClaim {
  const digestAt = CLAIM_AT + 16
  return {
    sequence: readUint64(block, CLAIM_AT),
    frozenSequence: readUint64(block, CLAIM_AT + 8),
    digest: Buffer.from(block.subarray(digestAt, digestAt + CLAIM_DIGEST_BYTES))
  }
}

/** Was this copy written by a holder of the slot key? */
export function verifyOverlayHeader(block: Buffer, key: Buffer): boolean {
  return sodium.sodium_memcmp(headerMac(block, key), block.subarray(MAC_AT, CHECKSUM_AT))
}

export interface SlotHeader {
  kind: number
  volume: number
  /** First chunk. */
  chunk: number
  /** 1 for data, the length of the range for a tombstone. */
  count: number
  sequence: number
}

/** Writes the 24 bytes that are the associated data of a slot's seal. They stand at both ends of the slot. */
export function writeSlotHeader(
  target: Buffer,
  at: number,
  kind: number,
  volume: number,
  chunk: number,
  count: number,
  sequence: number
): void {
  target.writeUInt8(kind, at)
  target.writeUInt8(0, at + 1)
  target.writeUInt16LE(volume, at + 2)
  target.writeUInt32LE(count, at + 4)
  writeUint64(target, chunk, at + 8)
  writeUint64(target, sequence, at + 16)
}

/** To be trusted only after the slot's tag was checked. */
export function readSlotHeader(source: Buffer, at: number): SlotHeader {
  return {
    kind: source.readUInt8(at),
    volume: source.readUInt16LE(at + 2),
    count: source.readUInt32LE(at + 4),
    chunk: readUint64(source, at + 8),
    sequence: readUint64(source, at + 16)
  }
}

/** Position of a slot in the file. */
export const slotPosition = (slot: number): number => OVERLAY_SLOTS_AT + slot * SLOT_BYTES

function headerMac(block: Buffer, key: Buffer): Buffer {
  const macKey = Buffer.alloc(32)
  const mac = Buffer.alloc(32)
  sodium.crypto_generichash(macKey, MAC_CONTEXT, key)
  sodium.crypto_generichash(mac, block.subarray(0, MAC_AT), macKey)
  return mac
}

function checksum(block: Buffer): Buffer {
  const sum = Buffer.alloc(32)
  sodium.crypto_generichash(sum, block.subarray(0, CHECKSUM_AT))
  return sum
}

function writeText(block: Buffer, text: string, lengthAt: number, at: number): void {
  const bytes = Buffer.from(text)
  assert(bytes.byteLength <= OVERLAY_TEXT_BYTES_MAX, 'a name in an overlay header is too long')
  block.writeUInt8(bytes.byteLength, lengthAt)
  bytes.copy(block, at)
}

function readText(block: Buffer, lengthAt: number, at: number): string {
  return block.toString('utf8', at, at + block.readUInt8(lengthAt))
}

function writeUint64(target: Buffer, value: number, at: number): void {
  target.writeUInt32LE(value >>> 0, at)
  target.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4)
}

function readUint64(source: Buffer, at: number): number {
  return source.readUInt32LE(at + 4) * 0x1_0000_0000 + source.readUInt32LE(at)
}
