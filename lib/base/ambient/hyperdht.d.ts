/** What we use of hyperdht 6.34. */
declare module 'hyperdht' {
  import type { EventEmitter } from 'node:events'

  namespace HyperDHT {
    interface KeyPair {
      publicKey: Buffer
      secretKey: Buffer
    }

    type Address = string | { host: string; port: number }

    interface Options {
      bootstrap?: Address[]
      host?: string
      port?: number
      ephemeral?: boolean
      firewalled?: boolean
      anyPort?: boolean
      keyPair?: KeyPair
    }
  }

  class HyperDHT extends EventEmitter {
    constructor(opts?: HyperDHT.Options)
    static keyPair(seed?: Buffer): HyperDHT.KeyPair
    /** A first node; `host` is the address under which others reach it. Throws without port or for 0.0.0.0. */
    static bootstrapper(port: number, host: string, opts?: HyperDHT.Options): HyperDHT
    fullyBootstrapped(): Promise<void>
    address(): { host: string; port: number } | null
    destroy(opts?: { force?: boolean }): Promise<void>
  }

  export = HyperDHT
}
