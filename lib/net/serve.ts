/**
 * What we tell and give one peer: announcements of the logs that it wants, and answers to its requests.
 *
 * Invariants
 * - Only logs that `mayServe` allows, and of these only what is durable.
 * - Requests are answered strictly in the order of their ranks. Answers are written only while the stream takes
 *   them, so what waits for a slow peer is its requests, at most `REQUESTS_MAX` of them.
 */
import safetyCatch from 'safety-catch'
import { systemClock, type Clock } from '../base/clock.ts'
import { HyperparcelError } from '../base/errors.ts'
import {
  HAVE_RUNS_MAX,
  LATER_MS_MAX,
  RANK_MAX,
  type BlockRequest,
  type LengthRequest,
  type Raise,
  type Want
} from '../format/fetch.ts'
import type { BlockRun, Log, LogStorePort } from '../store/ports.ts'
import { Backlog } from './backlog.ts'
import type { FetchChannel } from './fetch-channel.ts'
import type { PeerCounters } from './counters.ts'
import { Limits } from './limits.ts'
import { FOREGROUND } from './watch.ts'

const WANTS_MAX = 65_536
const REQUESTS_MAX = 1024
/** Proofs in preparation at once. */
const ACTIVE_MAX = 8
/** A proof in preparation counts as that many bytes handed to the stream. */
const PROOF_BYTES = 64 * 1024
/** A peer that would wait longer for what is in the background is told to ask later. */
const HELD_MS_MAX = 1000
const METERED_MS = 10_000
/** What somebody waits for is handed over beyond what else may be, up to that. */
const DEMAND_BYTES = 512 * 1024

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
  onserved?: (log: Buffer, block: number) => void
  channel: FetchChannel
  counters: PeerCounters
  onviolation(err: HyperparcelError): void
  /** What transfers may take. */
  limits?: Limits
  clock?: Clock
}

export class PeerServer {
  readonly #opts: PeerServerOptions
  readonly #wanted = new Map<string, Wanted>()
  /** By rank. */
  readonly #queues = Array.from({ length: RANK_MAX + 1 }, () => new Map<number, BlockRequest>())
  readonly #backlog = new Backlog()
  readonly #limits: Limits
  readonly #clock: Clock
  readonly #onlimits = () => this.pump()
  /** A look at what the limits allow is planned. */
  #awaitingLimit = false
  #waiting = 0
  #active = 0
  #lengthsActive = 0
  #closed = false

  constructor(opts: PeerServerOptions) {
    this.#opts = opts
    this.#limits = opts.limits ?? new Limits()
    this.#clock = opts.clock ?? systemClock
    this.#limits.on('change', this.#onlimits)
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
    if (this.#waiting >= REQUESTS_MAX) return this.#violation('asks for too many blocks at once')
    this.oncancel(request.id)
    this.#queue({ ...request, log: Buffer.from(request.log) })
    this.pump()
  }

  onlengthrequest(request: LengthRequest): void {
    if (this.#lengthsActive >= REQUESTS_MAX) return this.#violation('asks for too many lengths')
    this.#lengthsActive++
    this.#proveLength({ ...request, log: Buffer.from(request.log) })
      .catch(safetyCatch)
      .finally(() => this.#lengthsActive--)
  }

  onraise({ id, rank }: Raise): void {
    for (const queue of this.#queues.slice(rank + 1)) {
      const request = queue.get(id)
      if (request === undefined) continue
      this.oncancel(id)
      this.#queue({ ...request, rank })
      return this.pump()
    }
  }

  oncancel(id: number): void {
    for (const queue of this.#queues) if (queue.delete(id)) this.#waiting--
  }

  /** Starts on waiting requests, as long as the stream takes answers. */
  pump(): void {
    if (this.#opts.channel.drained) this.#backlog.drained(this.#clock.monotonic())
    while (!this.#closed && this.#active < ACTIVE_MAX) {
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
    this.#limits.off('change', this.#onlimits)
    for (const queue of this.#queues) queue.clear()
    for (const wanted of this.#wanted.values()) detach(wanted)
    this.#wanted.clear()
  }

  #take(): BlockRequest | null {
    const ahead = this.#backlog.bytes + this.#active * PROOF_BYTES
    for (const [rank, queue] of this.#queues.entries()) {
      if (ahead >= (rank === 0 ? DEMAND_BYTES : this.#backlog.limitBytes)) return null
      if (rank > FOREGROUND && queue.size > 0 && this.#heldBack()) return null
      for (const request of queue.values()) {
        this.oncancel(request.id)
        return request
      }
    }
    if (this.#active === 0) this.#limits.up.idle()
    return null
  }

  /** Do the limits hold back what is in the background? Whoever would wait for long is told so. */
  #heldBack(): boolean {
    const { up, metered } = this.#limits
    const waitMs = metered ? METERED_MS : up.waitMs(this.#clock.monotonic())
    if (waitMs > HELD_MS_MAX) {
      const ms = Math.min(waitMs, LATER_MS_MAX)
      for (const queue of this.#queues.slice(FOREGROUND + 1)) {
        for (const id of queue.keys()) {
          this.oncancel(id)
          this.#opts.channel.send.later({ id, ms })
        }
      }
    } else if (waitMs > 0 && !this.#awaitingLimit) {
      this.#awaitingLimit = true
      void this.#clock.sleep(waitMs).then(() => {
        this.#awaitingLimit = false
        this.pump()
      }, safetyCatch)
    }
    return waitMs > 0
  }

  #queue(request: BlockRequest): void {
    this.#queues[request.rank].set(request.id, request)
    this.#waiting++
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
    this.#limits.up.used(proof.block.value.byteLength, this.#clock.monotonic())
    this.#opts.onserved?.(key, index)
    counters.blocksOut++
    counters.blockBytesOut += proof.block.value.byteLength
    const drained = channel.send.proof({ id, block: proof.block, upgrade: null, manifest: null })
    this.#backlog.wrote(proof.block.value.byteLength, drained, this.#clock.monotonic())
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
