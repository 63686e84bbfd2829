/** The slot key of an overlay rests under the overlay key of this device. */
import { NONCE_BYTES, TAG_BYTES, open, seal } from '../chunk/aead.ts'

export const OVERLAY_SUFFIX = '.overlay'
const EMPTY = Buffer.alloc(0)

export function sealOverlayKey(key: Buffer, overlayKey: Buffer): Buffer {
  const sealed = Buffer.alloc(NONCE_BYTES + key.byteLength + TAG_BYTES)
  seal(sealed.subarray(NONCE_BYTES), sealed.subarray(0, NONCE_BYTES), key, EMPTY, overlayKey)
  return sealed
}

/** Throws `DATA_CORRUPT`. */
export function unsealOverlayKey(sealed: Buffer, overlayKey: Buffer): Buffer {
  const key = Buffer.allocUnsafeSlow(Math.max(0, sealed.byteLength - NONCE_BYTES - TAG_BYTES))
  const nonce = sealed.subarray(0, NONCE_BYTES)
  open(key, nonce, sealed.subarray(NONCE_BYTES), EMPTY, overlayKey)
  return key
}
