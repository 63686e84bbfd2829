/**
 * How a device is named on a local network: by a random number and a hash of it under a secret that only those know
 * whom it concerns (the fleet, or who has the invite). Two hellos of one device have nothing in common for others.
 *
 * A hello proves nothing: it can be heard and said again. Who answers is proven by Noise alone.
 */
import { timingSafeEqual } from 'node:crypto'
import type { KeyPair } from 'hyperdht'
import { derive, randomBytes } from '../../fleet/derive.ts'
import { HELLO_BYTES } from '../../format/lan.ts'

const NONCE_BYTES = 8

/** Somebody who may be on this network. */
export interface LanTarget {
  /** 32 bytes. */
  secret: Buffer
  publicKey: Buffer
}

/** Somebody who we are. */
export interface LanIdentity {
  secret: Buffer
  keyPair: KeyPair
}

export function createHello(target: LanTarget, nonce = randomBytes(NONCE_BYTES)): Buffer {
  return Buffer.concat([nonce, tag(target, nonce)])
}

export function isHelloOf(hello: Buffer, target: LanTarget): boolean {
  if (hello.byteLength !== HELLO_BYTES) return false
  const nonce = hello.subarray(0, NONCE_BYTES)
  return timingSafeEqual(hello.subarray(NONCE_BYTES), tag(target, nonce))
}

export function targetOf({ secret, keyPair }: LanIdentity): LanTarget {
  return { secret, publicKey: keyPair.publicKey }
}

function tag({ secret, publicKey }: LanTarget, nonce: Buffer): Buffer {
  const hash = derive(secret, 'lan hello', Buffer.concat([publicKey, nonce]))
  return hash.subarray(0, HELLO_BYTES - NONCE_BYTES)
}
