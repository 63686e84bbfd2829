/** What two ends of a link tell each other about it: how long a round trip takes, where else they can be reached. */
import type Protomux from 'protomux'
import type { HyperparcelError } from '../base/errors.ts'
import {
  ENDPOINTS_MAX,
  PATH_MESSAGES,
  PATH_PROTOCOL,
  PATH_VERSION,
  type Endpoint
} from '../format/lan.ts'
import { openChannel, type MessageChannel } from './channel.ts'

const PING_MS = 5000
/** The least of these counts: what a ping waits behind bulk data does not. */
const ROUND_TRIPS = 12

export interface PathOptions {
  mux: Protomux
  /** Whether the transport measures no round trips itself. */
  measures: boolean
  endpoints(): Endpoint[]
  onendpoints(endpoints: Endpoint[]): void
  onviolation(err: HyperparcelError): void
}

export class PathChannel {
  readonly #opts: PathOptions
  readonly #roundTripsMs: number[] = []
  #channel: MessageChannel<typeof PATH_MESSAGES> | null = null
  #timer: NodeJS.Timeout | null = null
  #id = 0
  #sentAtMs = 0

  constructor(opts: PathOptions) {
    this.#opts = opts
    opts.mux.pair({ protocol: PATH_PROTOCOL }, () => this.#open())
    this.#open()
  }

  /** Milliseconds; null before anything was measured. */
  get rttMs(): number | null {
    return this.#roundTripsMs.length === 0 ? null : Math.min(...this.#roundTripsMs)
  }

  /** Tells where this device listens now. */
  tell(): void {
    const endpoints = this.#opts.endpoints().slice(0, ENDPOINTS_MAX)
    if (endpoints.length > 0) this.#channel?.send.endpoints({ endpoints })
  }

  close(): void {
    this.#onclose()
    this.#opts.mux.unpair({ protocol: PATH_PROTOCOL })
  }

  #open(): void {
    const { mux, onendpoints, onviolation } = this.#opts
    const channel = openChannel(mux, {
      protocol: PATH_PROTOCOL,
      version: PATH_VERSION,
      messages: PATH_MESSAGES,
      receivers: {
        ping: ({ id }) => channel!.send.pong({ id }),
        pong: ({ id }) => this.#onpong(id),
        endpoints: (message) => onendpoints(message.endpoints)
      },
      onopen: () => {
        this.#channel = channel
        this.tell()
        if (!this.#opts.measures) return
        this.#timer = setInterval(() => this.#ping(), PING_MS).unref()
        this.#ping()
      },
      onclose: () => this.#onclose(),
      onviolation
    })
  }

  #onclose(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
    this.#channel = null
  }

  #ping(): void {
    this.#sentAtMs = performance.now()
    this.#channel?.send.ping({ id: ++this.#id })
  }

  #onpong(id: number): void {
    if (id !== this.#id || this.#sentAtMs === 0) return
    this.#roundTripsMs.push(performance.now() - this.#sentAtMs)
    this.#sentAtMs = 0
    if (this.#roundTripsMs.length > ROUND_TRIPS) this.#roundTripsMs.shift()
  }
}
