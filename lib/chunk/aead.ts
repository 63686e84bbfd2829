/** XChaCha20-Poly1305 with a random nonce, the only cipher of this project (libsodium, IETF variant). */
import sodium from 'sodium-universal'
import { HyperparcelError } from '../base/errors.ts'

export const KEY_BYTES = 32
export const NONCE_BYTES = 24
export const TAG_BYTES = 16

/** Fills `nonce` with randomness and writes message.byteLength + 16 bytes to `target`. */
export function seal(
  target: Buffer,
  nonce: Buffer,
  message: Buffer,
  associated: Buffer,
  key: Buffer
): void {
  sodium.randombytes_buf(nonce)
  sealWith(target, nonce, message, associated, key)
}

/** As `seal`, with a nonce that the caller has filled and never uses again under this key. */
export function sealWith(
  target: Buffer,
  nonce: Buffer,
  message: Buffer,
  associated: Buffer,
  key: Buffer
): void {
  sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(target, message, associated, null, nonce, key)
}

/** Writes ciphertext.byteLength − 16 bytes to `target`. Throws `DATA_CORRUPT` when the tag does not fit. */
export function open(
  target: Buffer,
  nonce: Buffer,
  ciphertext: Buffer,
  associated: Buffer,
  key: Buffer
): void {
  try {
    sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
      target,
      null,
      ciphertext,
      associated,
      nonce,
      key
    )
  } catch (err) {
    throw new HyperparcelError('DATA_CORRUPT', 'Sealed data did not verify', { cause: err })
  }
}
