/** A secret under a key, and a secret in a box that one device opens. */
import sodium from 'sodium-universal'
import { HyperparcelError } from '../base/errors.ts'
import { NONCE_BYTES, TAG_BYTES, open, seal } from '../chunk/aead.ts'
import type { KeyPair } from './sign.ts'

const BOX_OVERHEAD_BYTES = 32 + 16

/** nonce | sealed secret. `associated` says what it is, so that no secret can take another's place. */
export function wrap(key: Buffer, secret: Buffer, associated: Buffer): Buffer {
  const wrapped = Buffer.allocUnsafeSlow(NONCE_BYTES + secret.byteLength + TAG_BYTES)
  seal(wrapped.subarray(NONCE_BYTES), wrapped.subarray(0, NONCE_BYTES), secret, associated, key)
  return wrapped
}

/** Throws `DATA_CORRUPT` when key, associated data or content do not fit. */
export function unwrap(key: Buffer, wrapped: Buffer, associated: Buffer): Buffer {
  const secretBytes = wrapped.byteLength - NONCE_BYTES - TAG_BYTES
  if (secretBytes < 0) throw new HyperparcelError('DATA_CORRUPT', 'A wrapped key is too short')
  const secret = Buffer.allocUnsafeSlow(secretBytes)
  open(secret, wrapped.subarray(0, NONCE_BYTES), wrapped.subarray(NONCE_BYTES), associated, key)
  return secret
}

/** A box that only the owner of that Ed25519 key opens (crypto_box_seal under its X25519 form). Names no sender. */
export function boxFor(publicKey: Buffer, secret: Buffer): Buffer {
  const x = Buffer.allocUnsafe(32)
  try {
    sodium.crypto_sign_ed25519_pk_to_curve25519(x, publicKey)
  } catch (err) {
    throw new HyperparcelError('FORMAT_INVALID', 'A public key is not a point of Ed25519', {
      cause: err
    })
  }
  const box = Buffer.allocUnsafeSlow(secret.byteLength + BOX_OVERHEAD_BYTES)
  sodium.crypto_box_seal(box, secret, x)
  return box
}

/** The content of a box, or null when it is for somebody else. */
export function openBox(keyPair: KeyPair, box: Buffer): Buffer | null {
  if (box.byteLength < BOX_OVERHEAD_BYTES) return null
  const publicX = Buffer.allocUnsafe(32)
  const secretX = Buffer.allocUnsafeSlow(32)
  sodium.crypto_sign_ed25519_pk_to_curve25519(publicX, keyPair.publicKey)
  sodium.crypto_sign_ed25519_sk_to_curve25519(secretX, keyPair.secretKey)
  const secret = Buffer.allocUnsafeSlow(box.byteLength - BOX_OVERHEAD_BYTES)
  const opened = sodium.crypto_box_seal_open(secret, box, publicX, secretX)
  sodium.sodium_memzero(secretX)
  return opened ? secret : null
}
