/**
 * The real scheduler and the real serving side, over simulated links and time: one device that fetches a log from
 * others. What is checked while it runs is in `#check…`; a broken invariant ends the run.
 */
import { createCounters } from '../../lib/net/counters.ts'
import type { FetchChannel } from '../../lib/net/fetch-channel.ts'
import { Fetcher } from '../../lib/net/fetcher.ts'
import { Limits } from '../../lib/net/limits.ts'
import { PeerServer } from '../../lib/net/serve.ts'
import { Source } from '../../lib/net/source.ts'
import type { Log } from '../../lib/store/ports.ts'
import type { HyperparcelError } from '../../lib/base/errors.ts'
import { MemoryLogStore } from '../helpers/memory-logs.ts'
import { SimClock } from './sim-clock.ts'
import { SimLink, type LinkConditions } from './sim-link.ts'

const REQUEST_BYTES = 80
/** Of an answer besides its block. */
const PROOF_BYTES = 400
const IN_FLIGHT_BYTES_MAX = 10 * 1024 * 1024
const IN_FLIGHT_MAX = 300

export interface ServerOptions extends LinkConditions {
  /** Which blocks it has; all by default. */
  has?(index: number): boolean
  /** Sends other blocks than it was asked for. */
  lies?: boolean
}

export class SimServer {
  readonly source: Source
  readonly down: SimLink
  readonly up: SimLink
  readonly server: PeerServer
  /** What it may take. */
  readonly limits: Limits
  /** Asked for and neither answered nor cancelled: what may not be asked for again. */
  readonly owed = new Map<number, number>()

  constructor(source: Source, server: PeerServer, down: SimLink, up: SimLink, limits: Limits) {
    this.source = source
    this.server = server
    this.limits = limits
    this.down = down
    this.up = up
  }

  die(): void {
    this.down.die()
    this.up.die()
  }
}

export class SimNet {
  readonly clock = new SimClock()
  readonly fetcher: Fetcher
  readonly servers: SimServer[] = []
  readonly broken: string[] = []
  readonly misbehaved: Source[] = []
  readonly store = new MemoryLogStore()
  readonly #random: () => number
  readonly #author = new MemoryLogStore()
  log!: Log
  key!: Buffer

  constructor(random: () => number) {
    this.#random = random
    this.fetcher = new Fetcher({
      store: this.store,
      clock: this.clock,
      onviolation: (source) => {
        this.misbehaved.push(source)
        this.fetcher.removeSource(source)
      },
      onconflict: () => this.broken.push('a conflict')
    })
  }

  /** A log of blocks of these sizes, its length known to the device that fetches. */
  async write(sizes: number[]): Promise<void> {
    const largest = Buffer.alloc(Math.max(...sizes))
    const own = await this.#author.current('parcel:a')
    // Blocks share one memory; each is an object of its own, and that is what proves it here.
    await own.append(sizes.map((bytes) => largest.subarray(0, bytes)))
    await this.#author.flush()
    this.key = own.key
    this.log = await this.store.open(own.key)
    const proof = await own.proveLength(0, sizes.length)
    await this.log.apply(proof!)
    const apply = this.log.apply.bind(this.log)
    const truth = await Promise.all(sizes.map((_, index) => own.read(index)))
    this.log.apply = async (p) =>
      p.block !== null && truth[p.block.index] !== p.block.value ? false : apply(p)
  }

  async addServer(opts: ServerOptions): Promise<SimServer> {
    const { clock } = this
    const own = await this.#author.current('parcel:a')
    const up = new SimLink(clock, this.#random, { ...opts, loss: 0 })
    let server: PeerServer | null = null
    const down = new SimLink(clock, this.#random, opts, () => server?.pump())
    const far = {
      have: (have) => {
        const copy = { ...have, runs: [...have.runs] }
        return down.send(200, () => this.fetcher.onhave(source, copy))
      },
      proof: (proof) =>
        down.send(PROOF_BYTES + (proof.block?.value.byteLength ?? 0), () => {
          made.owed.delete(proof.id)
          this.fetcher.onproof(source, proof)
        }),
      unavailable: (message) =>
        down.send(20, () => {
          made.owed.delete(message.id)
          this.fetcher.onunavailable(source, message.id)
        }),
      later: (message) =>
        down.send(20, () => {
          made.owed.delete(message.id)
          this.fetcher.onlater(source, message)
        })
    } as Partial<FetchChannel['send']> as FetchChannel['send']
    const near = {
      want: (want) => up.send(REQUEST_BYTES, () => server!.onwant(want)),
      blockRequest: (request) => {
        this.#checkRequest(made, request.id, request.index)
        const index = opts.lies ? (request.index + 1) % own.length : request.index
        return up.send(REQUEST_BYTES, () => server!.onblockrequest({ ...request, index }))
      },
      lengthRequest: (request) => up.send(REQUEST_BYTES, () => server!.onlengthrequest(request)),
      cancel: ({ id }) => {
        made.owed.delete(id)
        return up.send(20, () => server!.oncancel(id))
      },
      raise: (message) => up.send(20, () => server!.onraise(message))
    } as Partial<FetchChannel['send']> as FetchChannel['send']
    const channel = (send: FetchChannel['send'], link: SimLink): FetchChannel => ({
      send,
      get drained() {
        return link.drained
      },
      closed: false,
      together: (sendAll) => sendAll(),
      close: () => {}
    })
    const has = opts.has ?? (() => true)
    const limits = new Limits()
    server = new PeerServer({
      store: partly(this.#author, has),
      mayServe: () => true,
      channel: channel(far, down),
      counters: createCounters(),
      onviolation: (err: HyperparcelError) => this.broken.push(err.message),
      limits,
      clock
    })
    const source = new Source({
      key: Buffer.alloc(32, this.servers.length),
      channel: channel(near, up),
      counters: createCounters(),
      bytesRead: () => down.arrivedBytes,
      nowMs: () => clock.monotonic()
    })
    const made = new SimServer(source, server, down, up, limits)
    this.servers.push(made)
    this.fetcher.addSource(source)
    return made
  }

  /** Milliseconds that a demand for these blocks took. */
  async demand(indexes: number[]): Promise<number> {
    const startMs = this.clock.monotonic()
    await this.fetcher.fetch(this.key, indexes, { priority: 'demand' })
    return this.clock.monotonic() - startMs
  }

  #checkRequest(server: SimServer, id: number, index: number): void {
    for (const owed of server.owed.values()) {
      if (owed === index) this.broken.push(`block ${index} is asked for twice`)
    }
    server.owed.set(id, index)
    const { inFlightBytes, inFlight } = server.source
    if (inFlightBytes > IN_FLIGHT_BYTES_MAX) this.broken.push(`${inFlightBytes} bytes under way`)
    if (inFlight > IN_FLIGHT_MAX) this.broken.push(`${inFlight} requests under way`)
  }
}

/** A store with some of the blocks only. */
function partly(store: MemoryLogStore, has: (index: number) => boolean): MemoryLogStore {
  const wrap = (log: Log | null): Log | null => {
    if (log === null) return null
    return Object.assign(Object.create(log) as Log, {
      proveBlock: async (index: number, nodes: number) =>
        has(index) ? log.proveBlock(index, nodes) : null,
      durableRuns: async (start: number, end: number, max: number) => {
        const runs = []
        for (let i = start; i < end && runs.length < max; i++) {
          if (has(i)) runs.push({ start: i, count: 1 })
        }
        return runs
      }
    })
  }
  return Object.assign(Object.create(store) as MemoryLogStore, {
    peek: async (key: Buffer) => wrap(await store.peek(key))
  })
}
