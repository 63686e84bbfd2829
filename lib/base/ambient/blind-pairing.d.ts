/** What we use of blind-pairing 2.3. Buffers of ours must not be changed after they were handed over. */
declare module 'blind-pairing' {
  import type { EventEmitter } from 'node:events'

  namespace BlindPairing {
    interface Invite {
      id: Buffer
      /** Encoded, for candidates. */
      invite: Buffer
      publicKey: Buffer
      discoveryKey: Buffer
    }

    /** A candidate's request as a member sees it. */
    interface MemberRequest {
      readonly inviteId: Buffer
      readonly userData: Buffer | null
      /** Decrypts with the invite's public key; throws where it does not fit. Before any answer. */
      open(publicKey: Buffer): Buffer
      confirm(answer: { key: Buffer; additional?: { data: Buffer; signature: Buffer } }): void
      /** 1 refused, 2 the invite was used, 3 it has expired. */
      deny(opts: { status: 1 | 2 | 3 }): void
    }

    interface Member {
      flushed(): Promise<unknown>
      close(): Promise<void>
      /** Internal: where a request of anybody arrives. */
      _addRequest(value: Buffer): Promise<MemberRequest | null>
    }

    interface Paired {
      key: Buffer
      data: Buffer | null
    }

    interface Candidate {
      /** Events: `rejected` (err), `code` being PAIRING_REJECTED, INVITE_USED, INVITE_EXPIRED or none. */
      readonly request: EventEmitter
      readonly pairing: Promise<Paired | null>
      readonly paired: Paired | null
      close(): Promise<void>
    }
  }

  class BlindPairing {
    /** @param swarm a Hyperswarm */
    constructor(swarm: object, opts?: { poll?: number })
    static createInvite(key: Buffer, opts?: { seed?: Buffer }): BlindPairing.Invite
    addMember(opts: {
      discoveryKey: Buffer
      onadd: (request: BlindPairing.MemberRequest) => Promise<void>
    }): BlindPairing.Member
    addCandidate(opts: {
      invite: Buffer
      userData: Buffer
      onadd: (paired: BlindPairing.Paired) => Promise<void> | void
    }): BlindPairing.Candidate
    ready(): Promise<void>
    close(): Promise<void>
  }

  export = BlindPairing
}
