/**
 * A source of blocks on this very machine, as the Fetcher knows sources: it is asked, answered and verified like a peer,
 * with a round trip of nearly nothing. Only blocks and lengths; nothing is sent to it.
 */
import { randomBytes } from 'node:crypto'
import type { HyperparcelError } from '../base/errors.ts'
import type { BlockRequest, Have, LengthRequest, Proof } from '../format/fetch.ts'
import { createCounters, type PeerCounters } from './counters.ts'
import type { FetchChannel } from './fetch-channel.ts'
import type { Fetcher } from './fetcher.ts'
import { Source } from './source.ts'

/** What is expected of a stick before it was asked for anything: 64 MB/s. */
const EXPECTED_MS = 1
const EXPECTED_BYTES = 64 * 1024

/** What has the blocks. It answers through the `LocalSource`, whenever it can. */
export interface LocalPeer {
  /** Say what you have of that log. */
  onwant(log: Buffer, on: boolean): void
  onblockrequest(request: BlockRequest): void
  onlengthrequest(request: LengthRequest): void
}

export interface LocalSourceOptions {
  /** It sent what does not verify: it is closed then. */
  onviolation?(err: HyperparcelError): void
  onclose?(): void
}

export class LocalSource {
  /** Random: it is no device. */
  readonly key = randomBytes(32)
  readonly counters: PeerCounters = createCounters()
  readonly #fetcher: Fetcher
  readonly #opts: LocalSourceOptions
  readonly #source: Source
  #answered = 0
  #closed = false

  constructor(fetcher: Fetcher, peer: LocalPeer, opts: LocalSourceOptions) {
    this.#fetcher = fetcher
    this.#opts = opts
    this.#source = new Source({
      free: true,
      key: this.key,
      channel: this.#channel(peer),
      counters: this.counters,
      bytesRead: () => this.#answered,
      nowMs: () => performance.now()
    })
  }

  open(): void {
    // Else what was measured of others would go before it, until it is measured too.
    const { path } = this.#source
    const nowMs = performance.now()
    path.delivered(path.sent(nowMs - EXPECTED_MS), EXPECTED_BYTES, nowMs)
    this.#fetcher.addSource(this.#source)
  }

  get closed(): boolean {
    return this.#closed
  }

  have(have: Have): void {
    if (!this.#closed) this.#fetcher.onhave(this.#source, have)
  }

  proof(proof: Proof): void {
    if (this.#closed) return
    this.#answered += proof.block?.value.byteLength ?? 0
    this.#fetcher.onproof(this.#source, proof)
  }

  unavailable(id: number): void {
    if (!this.#closed) this.#fetcher.onunavailable(this.#source, id)
  }

  /** It sent what no honest source sends. */
  fail(err: HyperparcelError): void {
    this.close()
    this.#opts.onviolation?.(err)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#fetcher.removeSource(this.#source)
    this.#opts.onclose?.()
  }

  #channel(peer: LocalPeer): FetchChannel {
    const refused = () => false
    const isClosed = () => this.#closed
    return {
      send: {
        want: ({ log, on }) => (peer.onwant(log, on), true),
        blockRequest: (request) => (peer.onblockrequest(request), true),
        lengthRequest: (request) => (peer.onlengthrequest(request), true),
        cancel: () => true,
        raise: () => true,
        have: refused,
        proof: refused,
        unavailable: refused,
        later: refused
      },
      drained: true,
      get closed() {
        return isClosed()
      },
      together: (sendAll) => sendAll(),
      close: () => this.close()
    }
  }
}

/** All of them. */
export class Locals {
  readonly #fetcher: Fetcher
  readonly #open = new Map<string, LocalSource>()

  constructor(fetcher: Fetcher) {
    this.#fetcher = fetcher
  }

  /** Asked from now on, until it is closed. */
  add(peer: LocalPeer, opts: LocalSourceOptions = {}): LocalSource {
    const local = new LocalSource(this.#fetcher, peer, {
      onviolation: opts.onviolation,
      onclose: () => void this.#open.delete(local.key.toString('hex'))
    })
    this.#open.set(local.key.toString('hex'), local)
    local.open()
    return local
  }

  /** False where it is none of them. */
  fail(key: Buffer, err: HyperparcelError): boolean {
    const local = this.#open.get(key.toString('hex'))
    local?.fail(err)
    return local !== undefined
  }

  close(): void {
    for (const local of this.#open.values()) local.close()
  }
}
