/** What we use of @hyperswarm/secret-stream 6.9: the same Noise as on Hyperswarm's connections, over any stream. */
declare module '@hyperswarm/secret-stream' {
  import type { Socket } from 'node:net'
  import type { Connection } from 'hyperswarm'

  namespace SecretStream {
    interface Options {
      pattern: 'IK'
      keyPair: { publicKey: Buffer; secretKey: Buffer }
      /** Whom the initiator expects. */
      remotePublicKey?: Buffer
      keepAlive?: number
    }
  }

  interface SecretStream extends Connection {
    /** False when it broke off before the handshake was done. */
    readonly opened: Promise<boolean>
    /** Without a byte for that long it is destroyed. */
    setTimeout(ms: number): void
  }

  const SecretStream: new (
    isInitiator: boolean,
    rawStream: Socket,
    opts: SecretStream.Options
  ) => SecretStream

  export = SecretStream
}
