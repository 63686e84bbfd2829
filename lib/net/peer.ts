/** One connection to a fleet device: the fetch protocol in both roles, and calls. */
import Protomux from 'protomux'
import type { Connection } from 'hyperswarm'
import type { HyperparcelError } from '../base/errors.ts'
import { CALL_MESSAGES, CALL_PROTOCOL, CALL_VERSION } from '../format/call.ts'
import { FETCH_MESSAGES, FETCH_PROTOCOL, FETCH_VERSION } from '../format/fetch.ts'
import type { LogStorePort } from '../store/ports.ts'
import { PeerCalls, type CallChannel, type PeerHandlers } from './calls.ts'
import { openChannel } from './channel.ts'
import type { PeerCounters } from './counters.ts'
import type { FetchChannel } from './fetch-channel.ts'
import type { Fetcher } from './fetcher.ts'
import { PeerServer } from './serve.ts'
import { Source } from './source.ts'

export interface PeerOptions {
  connection: Connection
  connectedAt: number
  store: LogStorePort
  fetcher: Fetcher
  handlers: PeerHandlers
  counters: PeerCounters
  mayServe(log: Buffer): boolean
  /** Calls can be made from now on. */
  onready(): void
  onviolation(err: HyperparcelError): void
}

export class Peer {
  readonly key: Buffer
  readonly connection: Connection
  readonly connectedAt: number
  readonly counters: PeerCounters
  /** Bytes of this connection that are in the counters already. */
  bytesIn = 0
  bytesOut = 0
  readonly #opts: PeerOptions
  readonly #mux: Protomux
  #server: PeerServer | null = null
  #source: Source | null = null
  #calls: PeerCalls | null = null

  constructor(opts: PeerOptions) {
    this.#opts = opts
    this.key = Buffer.from(opts.connection.remotePublicKey)
    this.connection = opts.connection
    this.connectedAt = opts.connectedAt
    this.counters = opts.counters
    this.#mux = Protomux.from(opts.connection)
    // The far side may come to know us as a device later than we it, or earlier.
    this.#mux.pair({ protocol: FETCH_PROTOCOL }, () => this.#openFetch())
    this.#mux.pair({ protocol: CALL_PROTOCOL }, () => this.#openCalls())
    this.#openFetch()
    this.#openCalls()
  }

  /** Milliseconds; null before anything was measured. */
  get rttMs(): number | null {
    return this.connection.rawStream?.rtt || null
  }

  /** Null until the far side takes calls. */
  get calls(): PeerCalls | null {
    return this.#calls
  }

  get source(): Source | null {
    return this.#source
  }

  get server(): PeerServer | null {
    return this.#server
  }

  /** Stops using the connection, at once. */
  close(): void {
    this.#closeFetch()
    this.#closeCalls()
    this.#mux.unpair({ protocol: FETCH_PROTOCOL })
    this.#mux.unpair({ protocol: CALL_PROTOCOL })
  }

  #openFetch(): void {
    const { store, fetcher, counters, connection, onviolation } = this.#opts
    const channel: FetchChannel | null = openChannel(this.#mux, {
      protocol: FETCH_PROTOCOL,
      version: FETCH_VERSION,
      messages: FETCH_MESSAGES,
      receivers: {
        want: (message) => this.#server?.onwant(message),
        have: (message) => this.#source && fetcher.onhave(this.#source, message),
        blockRequest: (message) => this.#server?.onblockrequest(message),
        lengthRequest: (message) => this.#server?.onlengthrequest(message),
        proof: (message) => this.#source && fetcher.onproof(this.#source, message),
        unavailable: ({ id }) => this.#source && fetcher.onunavailable(this.#source, id),
        cancel: ({ id }) => this.#server?.oncancel(id),
        raise: ({ id }) => this.#server?.onraise(id)
      },
      onopen: () => {
        const mayServe = (log: Buffer): boolean => this.#opts.mayServe(log)
        this.#server = new PeerServer({ store, mayServe, channel: channel!, counters, onviolation })
        this.#source = new Source({
          key: this.key,
          channel: channel!,
          counters,
          rttMs: () => connection.rawStream?.rtt,
          bytesRead: () => connection.rawBytesRead
        })
        fetcher.addSource(this.#source)
      },
      onclose: () => this.#closeFetch(),
      ondrain: () => this.#server?.pump(),
      onviolation
    })
  }

  #openCalls(): void {
    const channel: CallChannel | null = openChannel(this.#mux, {
      protocol: CALL_PROTOCOL,
      version: CALL_VERSION,
      messages: CALL_MESSAGES,
      receivers: {
        request: (message) => this.#calls?.onrequest(message),
        answer: (message) => this.#calls?.onanswer(message),
        cancel: ({ id }) => this.#calls?.oncancel(id)
      },
      onopen: () => {
        this.#calls = new PeerCalls(this.key, channel!, this.#opts.handlers)
        this.#opts.onready()
      },
      onclose: () => this.#closeCalls(),
      onviolation: this.#opts.onviolation
    })
  }

  #closeFetch(): void {
    this.#server?.close()
    if (this.#source !== null) this.#opts.fetcher.removeSource(this.#source)
    this.#server = null
    this.#source = null
  }

  #closeCalls(): void {
    this.#calls?.close()
    this.#calls = null
  }
}
