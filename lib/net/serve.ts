/**
 * What we tell and give one peer: announcements of the logs that it wants, and answers to its requests.
 *
 * Invariants
 * - Only logs that `mayServe` allows, and of these only what is durable.
 * - Demand requests are answered before all others. Answers are written only while the stream takes them, so
 *   what waits for a slow peer is its requests, at most `REQUESTS_MAX` of them.
 */
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../base/errors.ts'
import { HAVE_RUNS_MAX, type BlockRequest, type LengthRequest, type Want } from '../format/fetch.ts'
import type { BlockRun, Log, LogStorePort } from '../store/ports.ts'
import type { FetchChannel } from './fetch-channel.ts'
import type { PeerCounters } from './counters.ts'

const WANTS_MAX = 65_536
const REQUESTS_MAX = 1024
/** Proofs in preparation at once. */
const ACTIVE_MAX = 8
/** Bytes of blocks handed to a stream that asks to wait: it works best when it always has a next one. */
const BACKLOG_BYTES_MAX = 128 * 1024

interface Wanted {
  key: Buffer
  log: Log | null
  /** What was announced so far: own blocks up to here. */
  announced: number
  /** Announcements are made one after the other. */
  chain: Promise<void>
  ondurable: ((length: number, received: number[]) => void) | null
}

export interface PeerServerOptions {
  store: LogStorePort
  mayServe(log: Buffer): boolean
  channel: FetchChannel
  counters: PeerCounters
  onviolation(err: HyperparcelError): void
}

export class PeerServer {
  readonly #opts: PeerServerOptions
  readonly #wanted = new Map<string, Wanted>()
  readonly #demand = new Map<number, BlockRequest>()
  readonly #bulk = new Map<number, BlockRequest>()
  #active = 0
  #backlogBytes = 0
  #lengthsActive = 0
  #closed = false

  constructor(opts: PeerServerOptions) {
    this.#opts = opts
  }

  onwant(want: Want): void {
    const id = want.log.toString('hex')
    const wanted = this.#wanted.get(id)
    if (!want.on) {
      if (wanted === undefined) return
      this.#wanted.delete(id)
      detach(wanted)
      return
    }
    if (wanted !== undefined) return
    if (this.#wanted.size >= WANTS_MAX) return this.#violation('wants too many logs')
    const fresh: Wanted = {
      key: Buffer.from(want.log),
      log: null,
      announced: 0,
      chain: Promise.resolve(),
      ondurable: null
    }
    this.#wanted.set(id, fresh)
    this.#offer(fresh)
  }

  /** A log was opened in this store: the peer may want it. */
  onlog(log: Log): void {
    const wanted = this.#wanted.get(log.key.toString('hex'))
    if (wanted?.log === null && this.#opts.mayServe(wanted.key)) this.#attach(wanted, log)
  }

  /** What may be served has changed. */
  refresh(): void {
    for (const wanted of this.#wanted.values()) {
      const may = this.#opts.mayServe(wanted.key)
      if (may && wanted.log === null) this.#offer(wanted)
      else if (!may) detach(wanted)
    }
  }

  onblockrequest(request: BlockRequest): void {
    if (this.#demand.size + this.#bulk.size >= REQUESTS_MAX) {
      return this.#violation('asks for too many blocks at once')
    }
    const queue = request.demand ? this.#demand : this.#bulk
    queue.set(request.id, { ...request, log: Buffer.from(request.log) })
    this.pump()
  }

  onlengthrequest(request: LengthRequest): void {
    if (this.#lengthsActive >= REQUESTS_MAX) return this.#violation('asks for too many lengths')
    this.#lengthsActive++
    this.#proveLength({ ...request, log: Buffer.from(request.log) })
      .catch(safetyCatch)
      .finally(() => this.#lengthsActive--)
  }

  onraise(id: number): void {
    const request = this.#bulk.get(id)
    if (request === undefined) return
    this.#bulk.delete(id)
    this.#demand.set(id, request)
  }

  oncancel(id: number): void {
    if (!this.#demand.delete(id)) this.#bulk.delete(id)
  }

  /** Starts on waiting requests, as long as the stream takes answers. */
  pump(): void {
    if (this.#opts.channel.drained) this.#backlogBytes = 0
    while (!this.#closed && this.#active < ACTIVE_MAX && this.#backlogBytes < BACKLOG_BYTES_MAX) {
      const request = this.#take()
      if (request === null) return
      this.#active++
      this.#proveBlock(request)
        .catch(safetyCatch)
        .finally(() => {
          this.#active--
          this.pump()
        })
    }
  }

  close(): void {
    this.#closed = true
    this.#demand.clear()
    this.#bulk.clear()
    for (const wanted of this.#wanted.values()) detach(wanted)
    this.#wanted.clear()
  }

  #take(): BlockRequest | null {
    for (const queue of [this.#demand, this.#bulk]) {
      for (const request of queue.values()) {
        queue.delete(request.id)
        return request
      }
    }
    return null
  }

  async #proveBlock({ id, log: key, index, nodes }: BlockRequest): Promise<void> {
    const { channel, counters } = this.#opts
    const log = this.#opts.mayServe(key) ? await this.#opts.store.peek(key) : null
    const proof = log === null ? null : await log.proveBlock(index, nodes).catch(() => null)
    if (this.#closed) return
    if (proof?.block == null) {
      channel.send.unavailable({ id })
      return
    }
    counters.blocksOut++
    counters.blockBytesOut += proof.block.value.byteLength
    this.#backlogBytes += proof.block.value.byteLength
    const drained = channel.send.proof({ id, block: proof.block, upgrade: null, manifest: null })
    if (drained) this.#backlogBytes = 0
  }

  async #proveLength({ id, log: key, from }: LengthRequest): Promise<void> {
    const { channel } = this.#opts
    const log = this.#opts.mayServe(key) ? await this.#opts.store.peek(key) : null
    const proof =
      log === null ? null : await log.proveLength(from, log.durableLength).catch(() => null)
    if (this.#closed) return
    if (proof?.upgrade == null) channel.send.unavailable({ id })
    else channel.send.proof({ id, block: null, upgrade: proof.upgrade, manifest: proof.manifest })
  }

  #offer(wanted: Wanted): void {
    if (!this.#opts.mayServe(wanted.key)) return
    this.#opts.store
      .peek(wanted.key)
      .then((log) => {
        if (log !== null && wanted.log === null) this.#attach(wanted, log)
      })
      .catch(safetyCatch)
  }

  #attach(wanted: Wanted, log: Log): void {
    if (this.#closed || this.#wanted.get(wanted.key.toString('hex')) !== wanted) return
    wanted.log = log
    wanted.ondurable = (_length, received) => this.#announce(wanted, received, false)
    log.on('durable', wanted.ondurable)
    this.#announce(wanted, [], true)
  }

  #announce(wanted: Wanted, received: number[], reset: boolean): void {
    const announce = () => this.#sendHave(wanted, received, reset)
    wanted.chain = wanted.chain.then(announce).catch(safetyCatch)
  }

  async #sendHave(wanted: Wanted, received: number[], reset: boolean): Promise<void> {
    const { channel } = this.#opts
    const log = wanted.log
    if (log === null) return
    const length = log.durableLength
    const from = reset ? 0 : wanted.announced
    const runs = runsOf(received.filter((index) => index < from))
    let at = from
    wanted.announced = length
    if (length === 0) return
    const treeHash = await log.treeHash(length).catch(() => null)
    for (let first = true; ; first = false) {
      const more = await log.durableRuns(at, length, HAVE_RUNS_MAX)
      runs.push(...more)
      const last = runs.at(-1)
      if (more.length > 0) at = last!.start + last!.count
      const rest = runs.splice(HAVE_RUNS_MAX)
      if (this.#closed || wanted.log === null) return
      channel.send.have({ log: wanted.key, reset: reset && first, length, treeHash, runs })
      runs.splice(0, runs.length, ...rest)
      if (runs.length === 0 && (more.length < HAVE_RUNS_MAX || at >= length)) return
    }
  }

  #violation(what: string): void {
    this.#opts.onviolation(new HyperparcelError('FORMAT_INVALID', `A peer ${what}`))
  }
}

function detach(wanted: Wanted): void {
  if (wanted.ondurable !== null) wanted.log?.off('durable', wanted.ondurable)
  wanted.log = null
  wanted.ondurable = null
}

function runsOf(indexes: number[]): BlockRun[] {
  const runs: BlockRun[] = []
  for (const index of indexes.toSorted((a, b) => a - b)) {
    const last = runs.at(-1)
    if (last !== undefined && last.start + last.count === index) last.count++
    else runs.push({ start: index, count: 1 })
  }
  return runs
}
