/** Random nonces, drawn many at a time. */
import sodium from 'sodium-universal'
import { NONCE_BYTES } from '../chunk/aead.ts'

const POOL = 256

export class Nonces {
  readonly bytes = Buffer.allocUnsafeSlow(POOL * NONCE_BYTES)
  #at = this.bytes.byteLength

  /** Where in `bytes` the next fresh nonce is; valid until the next call. */
  next(): number {
    if (this.#at === this.bytes.byteLength) {
      sodium.randombytes_buf(this.bytes)
      this.#at = 0
    }
    const at = this.#at
    this.#at += NONCE_BYTES
    return at
  }
}
