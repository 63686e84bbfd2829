/** Ed25519 key pairs and signatures. What is signed starts with a label, so no signature fits two purposes. */
import sodium from 'sodium-universal'
import { randomBytes } from './derive.ts'

/** As libsodium and Hyperswarm have it: 32 bytes public, 64 bytes secret (seed, then public key). */
export interface KeyPair {
  publicKey: Buffer
  secretKey: Buffer
}

export const SEED_BYTES = 32

/** @param seed 32 bytes; random by default */
export function keyPair(seed: Buffer = randomBytes(SEED_BYTES)): KeyPair {
  const publicKey = Buffer.allocUnsafeSlow(32)
  const secretKey = Buffer.allocUnsafeSlow(64)
  sodium.crypto_sign_seed_keypair(publicKey, secretKey, seed)
  return { publicKey, secretKey }
}

export function sign(keys: KeyPair, label: string, ...parts: Buffer[]): Buffer {
  const signature = Buffer.allocUnsafeSlow(64)
  sodium.crypto_sign_detached(signature, labelled(label, parts), keys.secretKey)
  return signature
}

/** Without a label, for a protocol of others that says exactly what is signed. */
export function signRaw(keys: KeyPair, message: Buffer): Buffer {
  const signature = Buffer.allocUnsafeSlow(64)
  sodium.crypto_sign_detached(signature, message, keys.secretKey)
  return signature
}

export function verify(
  publicKey: Buffer,
  signature: Buffer,
  label: string,
  ...parts: Buffer[]
): boolean {
  if (publicKey.byteLength !== 32 || signature.byteLength !== 64) return false
  return sodium.crypto_sign_verify_detached(signature, labelled(label, parts), publicKey)
}

function labelled(label: string, parts: Buffer[]): Buffer {
  return Buffer.concat([Buffer.from(`hyperparcel 1 ${label}\0`), ...parts])
}
