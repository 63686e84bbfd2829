/** What we use of sodium-universal 5; signatures from libsodium's documentation. */
declare module 'sodium-universal' {
  interface Sodium {
    crypto_generichash(output: Uint8Array, input: Uint8Array, key?: Uint8Array): void
    crypto_generichash_batch(output: Uint8Array, inputs: Uint8Array[], key?: Uint8Array): void
    /** SipHash-2-4: 8 bytes, key of 16. */
    crypto_shorthash(output: Uint8Array, input: Uint8Array, key: Uint8Array): void
    crypto_aead_xchacha20poly1305_ietf_encrypt(
      ciphertext: Uint8Array,
      message: Uint8Array,
      ad: Uint8Array | null,
      nsec: null,
      npub: Uint8Array,
      key: Uint8Array
    ): number
    /** Throws when the tag does not fit. */
    crypto_aead_xchacha20poly1305_ietf_decrypt(
      message: Uint8Array,
      nsec: null,
      ciphertext: Uint8Array,
      ad: Uint8Array | null,
      npub: Uint8Array,
      key: Uint8Array
    ): number
    randombytes_buf(buffer: Uint8Array): void
    sodium_memzero(buffer: Uint8Array): void
    sodium_memcmp(a: Uint8Array, b: Uint8Array): boolean
    crypto_sign_seed_keypair(publicKey: Uint8Array, secretKey: Uint8Array, seed: Uint8Array): void
    crypto_sign_keypair(publicKey: Uint8Array, secretKey: Uint8Array): void
    crypto_sign_detached(signature: Uint8Array, message: Uint8Array, secretKey: Uint8Array): void
    crypto_sign_verify_detached(
      signature: Uint8Array,
      message: Uint8Array,
      publicKey: Uint8Array
    ): boolean
    crypto_sign_ed25519_pk_to_curve25519(x: Uint8Array, ed: Uint8Array): void
    crypto_sign_ed25519_sk_to_curve25519(x: Uint8Array, ed: Uint8Array): void
    crypto_box_seal(ciphertext: Uint8Array, message: Uint8Array, publicKey: Uint8Array): void
    crypto_box_seal_open(
      message: Uint8Array,
      ciphertext: Uint8Array,
      publicKey: Uint8Array,
      secretKey: Uint8Array
    ): boolean
  }
  const sodium: Sodium
  export default sodium
}
