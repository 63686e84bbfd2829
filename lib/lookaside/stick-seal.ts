/**
 * The seals of a stick's index. A frame is bound to its file (by the salt) and to its place in it, so that frames of two
 * files, or of one in another order, never mix.
 */
import sodium from 'sodium-universal'
import { NONCE_BYTES, TAG_BYTES, open, seal } from '../chunk/aead.ts'
import {
  FRAME_BYTES_MAX,
  FRAME_LENGTH_BYTES,
  decodeFrame,
  encodeFrame,
  type StickFrame,
  type StickHeader
} from '../format/stick.ts'

const OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES
const TAG_LABEL = Buffer.from('hyperparcel stick tag\0')
const NAME_LABEL = Buffer.from('hyperparcel stick name\0')

/** @param key of the fleet's sticks */
export function newHeader(key: Buffer): StickHeader {
  const salt = Buffer.alloc(16)
  sodium.randombytes_buf(salt)
  return { salt, tag: tagOf(salt, key) }
}

/** Was it written by this fleet? */
export function isOurs({ salt, tag }: StickHeader, key: Buffer): boolean {
  return tagOf(salt, key).equals(tag)
}

/** The name of a parcel's folder: says nothing to others, and is the same at every fill. */
export function folderName(parcel: Buffer, key: Buffer): string {
  return hash(NAME_LABEL, parcel, key).subarray(0, 8).toString('hex')
}

export function sealFrame(frame: StickFrame, salt: Buffer, sequence: number, key: Buffer): Buffer {
  const message = encodeFrame(frame)
  const length = OVERHEAD_BYTES + message.byteLength
  const sealed = Buffer.allocUnsafe(FRAME_LENGTH_BYTES + length)
  sealed.writeUInt32LE(length, 0)
  const nonce = sealed.subarray(FRAME_LENGTH_BYTES, FRAME_LENGTH_BYTES + NONCE_BYTES)
  const target = sealed.subarray(FRAME_LENGTH_BYTES + NONCE_BYTES)
  seal(target, nonce, message, associated(salt, sequence), key)
  return sealed
}

/** Bytes of the frame that begins with these, or null where they say nothing sensible. */
export function frameBytes(start: Buffer): number | null {
  if (start.byteLength < FRAME_LENGTH_BYTES) return null
  const length = start.readUInt32LE(0)
  if (length < OVERHEAD_BYTES || length > FRAME_BYTES_MAX + OVERHEAD_BYTES) return null
  return FRAME_LENGTH_BYTES + length
}

/** Throws `DATA_CORRUPT`, `FORMAT_INVALID`. */
export function openFrame(sealed: Buffer, salt: Buffer, sequence: number, key: Buffer): StickFrame {
  const nonce = sealed.subarray(FRAME_LENGTH_BYTES, FRAME_LENGTH_BYTES + NONCE_BYTES)
  const ciphertext = sealed.subarray(FRAME_LENGTH_BYTES + NONCE_BYTES)
  const message = Buffer.alloc(ciphertext.byteLength - TAG_BYTES)
  open(message, nonce, ciphertext, associated(salt, sequence), key)
  return decodeFrame(message)
}

function associated(salt: Buffer, sequence: number): Buffer {
  const data = Buffer.alloc(20)
  salt.copy(data)
  data.writeUInt32LE(sequence, 16)
  return data
}

function tagOf(salt: Buffer, key: Buffer): Buffer {
  return hash(TAG_LABEL, salt, key).subarray(0, 16)
}

function hash(label: Buffer, data: Buffer, key: Buffer): Buffer {
  const out = Buffer.alloc(32)
  sodium.crypto_generichash_batch(out, [label, data], key)
  return out
}
