/** One connection to a fleet device, of any transport: the fetch protocol in both roles, and calls. */
import Protomux from 'protomux'
import type { Connection } from 'hyperswarm'
import type { HyperparcelError } from '../base/errors.ts'
import { CALL_MESSAGES, CALL_PROTOCOL, CALL_VERSION } from '../format/call.ts'
import { FETCH_MESSAGES, FETCH_PROTOCOL, FETCH_VERSION } from '../format/fetch.ts'
import type { Endpoint } from '../format/lan.ts'
import type { LogStorePort } from '../store/ports.ts'
import { PeerCalls, type CallChannel, type PeerHandlers } from './calls.ts'
import { openChannel } from './channel.ts'
import type { LinkKind, PeerCounters } from './counters.ts'
import type { FetchChannel } from './fetch-channel.ts'
import type { Fetcher } from './fetcher.ts'
import { PathChannel } from './path-channel.ts'
import { PeerServer } from './serve.ts'
import { Source } from './source.ts'

export interface LinkOptions {
  connection: Connection
  kind: LinkKind
  store: LogStorePort
  fetcher: Fetcher
  handlers: PeerHandlers
  counters: PeerCounters
  mayServe(log: Buffer): boolean
  onserved?: (log: Buffer, block: number) => void
  /** Where this device listens on local networks. */
  endpoints(): Endpoint[]
  onendpoints(endpoints: Endpoint[]): void
  /** Calls can be made from now on. */
  onready(): void
  onviolation(err: HyperparcelError): void
}

export class Link {
  readonly key: Buffer
  readonly kind: LinkKind
  readonly connection: Connection
  readonly counters: PeerCounters
  /** Bytes of this connection that are in the counters already. */
  #bytesIn = 0
  #bytesOut = 0
  readonly #opts: LinkOptions
  readonly #mux: Protomux
  readonly #path: PathChannel
  #server: PeerServer | null = null
  #source: Source | null = null
  #calls: PeerCalls | null = null

  constructor(opts: LinkOptions) {
    this.#opts = opts
    this.key = Buffer.from(opts.connection.remotePublicKey)
    this.connection = opts.connection
    this.kind = opts.kind
    this.counters = opts.counters
    this.#mux = Protomux.from(opts.connection)
    // The far side may come to know us as a device later than we it, or earlier.
    this.#mux.pair({ protocol: FETCH_PROTOCOL }, () => this.#openFetch())
    this.#mux.pair({ protocol: CALL_PROTOCOL }, () => this.#openCalls())
    this.#openFetch()
    this.#openCalls()
    this.#path = new PathChannel({
      mux: this.#mux,
      measures: opts.kind === 'lan',
      endpoints: () => opts.endpoints(),
      onendpoints: (endpoints) => opts.onendpoints(endpoints),
      onviolation: opts.onviolation
    })
  }

  /** Milliseconds; null before anything was measured. */
  get rttMs(): number | null {
    return this.#path.rttMs ?? (this.connection.rawStream?.rtt || null)
  }

  /** Nobody waits for anything over it. */
  get idle(): boolean {
    return (this.#source?.pending.size ?? 0) === 0 && (this.#calls?.idle ?? true)
  }

  /** Adds what went over the wire since the last time. */
  countBytes(): void {
    const { rawBytesRead, rawBytesWritten } = this.connection
    this.counters.bytesIn += rawBytesRead - this.#bytesIn
    this.counters.bytesOut += rawBytesWritten - this.#bytesOut
    this.#bytesIn = rawBytesRead
    this.#bytesOut = rawBytesWritten
  }

  /** Tells the far side where this device listens now. */
  tellEndpoints(): void {
    this.#path.tell()
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
    this.#path.close()
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
        raise: (message) => this.#server?.onraise(message),
        later: (message) => this.#source && fetcher.onlater(this.#source, message)
      },
      onopen: () => {
        const mayServe = (log: Buffer): boolean => this.#opts.mayServe(log)
        const { limits } = fetcher
        const { onserved } = this.#opts
        const opts = { store, mayServe, onserved, channel: channel!, counters, limits, onviolation }
        this.#server = new PeerServer(opts)
        this.#source = new Source({
          key: this.key,
          channel: channel!,
          counters,
          nowMs: () => performance.now(),
          bytesRead: () => bytesReceived(connection)
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

/** However little of a message they are. */
function bytesReceived({ rawStream, rawBytesRead }: Connection): number {
  return rawStream?.bytesReceived ?? rawStream?.bytesRead ?? rawBytesRead
}
