/** What we use of hyperswarm 4.17 and of the connections it gives out (@hyperswarm/secret-stream over udx-native). */
declare module 'hyperswarm' {
  import type { Duplex } from 'node:stream'
  import type { EventEmitter } from 'node:events'
  import type HyperDHT from 'hyperdht'

  namespace Hyperswarm {
    interface Options {
      /** Of the DHT socket; another one where it is taken. */
      port?: number
      keyPair?: HyperDHT.KeyPair
      bootstrap?: HyperDHT.Address[]
      dht?: HyperDHT
      maxPeers?: number
      /** True rejects, and the peer stays banned until `peerInfo.ban(false)`. */
      firewall?(remotePublicKey: Buffer, payload: unknown): boolean
    }

    interface Connection extends Duplex {
      readonly publicKey: Buffer
      readonly remotePublicKey: Buffer
      readonly isInitiator: boolean
      readonly rawBytesRead: number
      readonly rawBytesWritten: number
      /** UDX: smoothed round trip in milliseconds. */
      readonly rawStream: {
        readonly rtt?: number
        readonly bytesReceived?: number
        /** TCP. */
        readonly bytesRead?: number
      }
      destroy(err?: Error): this
    }

    interface PeerInfo extends EventEmitter {
      readonly publicKey: Buffer
      readonly banned: boolean
      ban(banned: boolean): void
    }

    interface Discovery {
      flushed(): Promise<boolean>
      refresh(opts?: { client?: boolean; server?: boolean }): Promise<boolean>
      destroy(): Promise<void>
    }
  }

  class Hyperswarm extends EventEmitter {
    readonly keyPair: HyperDHT.KeyPair
    readonly dht: HyperDHT
    readonly connections: Set<Hyperswarm.Connection>
    /** By public key in hex. */
    readonly peers: Map<string, Hyperswarm.PeerInfo>
    constructor(opts?: Hyperswarm.Options)
    listen(): Promise<void>
    join(topic: Buffer, opts?: { client?: boolean; server?: boolean }): Hyperswarm.Discovery
    leave(topic: Buffer): Promise<void>
    /** Keeps a connection to that peer, found by its key; called again, tries again at once. */
    joinPeer(publicKey: Buffer): void
    leavePeer(publicKey: Buffer): void
    flush(): Promise<unknown>
    /** Where the search for a topic stands. */
    status(topic: Buffer): Hyperswarm.Discovery | null
    destroy(opts?: { force?: boolean }): Promise<void>
  }

  export = Hyperswarm
}
