/**
 * Gets blocks and lengths of logs from peers. The tables are in `blocks.ts`, `jobs.ts` and `lengths.ts`; what to
 * request next from whom is decided by `choose.ts`, this file carries it out, `lateness.ts` watches the time.
 *
 * Invariants
 * - A block is done when it is verified and stored, from wherever it came.
 * - A block is never asked for twice from one source while an answer may still come.
 * - What a silent or late source owes may be asked for elsewhere; its late answers still count.
 *
 * Applying proofs of blocks needs no order: each is verified against nodes that were in the tree when it was
 * asked for, and Hypercore stores those of one log in groups under its lock.
 */
import safetyCatch from 'safety-catch'
import type { Clock } from '../base/clock.ts'
import { HyperparcelError } from '../base/errors.ts'
import type { Have, Later, Proof } from '../format/fetch.ts'
import type { BlockFetcher, FetchOptions, FetchPriority, LogStorePort } from '../store/ports.ts'
import { Blocks } from './blocks.ts'
import { choose, DEMAND_BYTES, REQUESTS_MAX, type Choice, type ChoiceLimits } from './choose.ts'
import { catchUp } from './follow.ts'
import { Jobs } from './jobs.ts'
import { KnownNodes } from './known-nodes.ts'
import { Lateness } from './lateness.ts'
import { Lengths } from './lengths.ts'
import { Limits } from './limits.ts'
import { ReadAhead } from './read-ahead.ts'
import type { Pending, PendingBlock, Source } from './source.ts'
import { toLogProof } from './to-log-proof.ts'
import { FOREGROUND, RANK, type LogWatch, type WantedBlock } from './watch.ts'

/** Blocks looked at in one decision. */
const CHOICE_MAX = 256
/** Of all bytes, what may be asked of far sources just to know how fast they are. */
const PROBE_SHARE = 0.02
/** Looks at what the limits allow are not further apart. */
const LIMIT_LOOK_MS = 1000

export interface FetcherOptions {
  store: LogStorePort
  clock: Clock
  /** That source sent something that no honest peer sends. It must be removed before this returns. */
  onviolation(source: Source, err: HyperparcelError): void
  /** A source shows a history of a log that contradicts what is stored here. */
  onconflict(log: Buffer, source: Source): void
}

export class Fetcher implements BlockFetcher {
  /** What transfers may take. */
  readonly limits = new Limits()
  readonly #opts: FetcherOptions
  readonly #watches = new Map<string, LogWatch>()
  readonly #opening = new Map<string, Promise<LogWatch>>()
  readonly #sources = new Set<Source>()
  readonly #blocks: Blocks
  readonly #jobs: Jobs
  readonly #lengths: Lengths
  readonly #lateness: Lateness
  readonly #closing = new AbortController()
  #scheduled = false
  /** A look at what the limits allow is planned. */
  #awaitingLimit = false

  constructor(opts: FetcherOptions) {
    this.#opts = opts
    this.#blocks = new Blocks(() => this.#schedule())
    this.#lengths = new Lengths({
      sources: this.#sources,
      onasked: () => this.#lateness.start(),
      onviolation: (source, what) => this.#violation(source, what),
      onconflict: (log, source) => opts.onconflict(log, source)
    })
    this.#jobs = new Jobs(this.#blocks, (watch) => this.#lengths.ask(watch))
    this.limits.on('change', () => this.#schedule())
    this.#lateness = new Lateness({
      clock: opts.clock,
      sources: this.#sources,
      blocks: this.#blocks,
      signal: this.#closing.signal,
      lost: (source, pending) => this.#lost(source, pending),
      changed: () => this.#unparkAll()
    })
  }

  async fetch(key: Buffer, indexes: number[], opts: FetchOptions): Promise<void> {
    this.#check(opts.signal)
    const watch = await this.watch(key)
    this.#check(opts.signal)
    if (opts.priority === 'demand') this.#readAhead(watch, indexes)
    await this.#jobs.run(watch, indexes, RANK[opts.priority], opts.signal)
  }

  /** Resolves when the signed length known here is at least `length`. Waits without limit, unless aborted. */
  async ensureLength(key: Buffer, length: number, signal?: AbortSignal): Promise<void> {
    this.#check(signal)
    const watch = await this.watch(key)
    this.#check(signal)
    if (watch.log.length >= length) return
    await new Promise<void>((resolve, reject) => {
      const onabort = () => waiter.reject(signal!.reason)
      const settle = () => {
        watch.waiters.delete(waiter)
        signal?.removeEventListener('abort', onabort)
      }
      const waiter = {
        length,
        resolve: () => (settle(), resolve()),
        reject: (err: unknown) => (settle(), reject(err))
      }
      signal?.addEventListener('abort', onabort, { once: true })
      watch.waiters.add(waiter)
      this.#lengths.ask(watch)
    })
  }

  /** Keeps the log's length and all its blocks up to date from whoever has them. */
  async follow(key: Buffer, priority: FetchPriority): Promise<void> {
    const watch = await this.watch(key)
    watch.follow = priority
    this.#lengths.ask(watch)
    void catchUp(watch, this.#closing.signal, (...args) => this.fetch(...args))
  }

  async unfollow(key: Buffer): Promise<void> {
    const watch = await this.#opening.get(key.toString('hex'))
    if (watch !== undefined) watch.follow = null
  }

  /** Asks every peer what it has of that log, now and later. */
  watch(key: Buffer): Promise<LogWatch> {
    const id = key.toString('hex')
    let watch = this.#opening.get(id)
    if (watch === undefined) {
      watch = this.#open(id, Buffer.from(key))
      this.#opening.set(id, watch)
      watch.catch(() => this.#opening.delete(id))
    }
    return watch
  }

  /** Does anybody wait for something at this moment? */
  get waiting(): boolean {
    for (const watch of this.#watches.values()) {
      if (watch.waiters.size > 0) return true
      for (const job of watch.jobs) if (job.rank === RANK.demand) return true
    }
    return false
  }

  /** Connected peers that have all of [start, end) of a log durably. */
  holders(key: Buffer, start: number, end: number): Buffer[] {
    const id = key.toString('hex')
    const keys = [...this.#sources]
      .filter((source) => source.logs.get(id)?.blocks.covers(start, end))
      .map((source) => source.key)
    // A peer with two links is one holder.
    return keys.filter((key, i) => keys.findIndex((other) => other.equals(key)) === i)
  }

  addSource(source: Source): void {
    this.#sources.add(source)
    for (const { key } of this.#watches.values()) source.channel.send.want({ log: key, on: true })
  }

  removeSource(source: Source): void {
    if (!this.#sources.delete(source)) return
    for (const [id, pending] of source.pending) {
      source.pending.delete(id)
      this.#lost(source, pending)
    }
  }

  onhave(source: Source, have: Have): void {
    const id = have.log.toString('hex')
    const watch = this.#watches.get(id)
    if (watch === undefined) return
    source.onhave(id, have)
    this.#lengths.compare(watch, source).catch(safetyCatch)
    this.#lengths.ask(watch)
    this.#blocks.unpark(watch)
    this.#schedule()
  }

  onproof(source: Source, message: Proof): void {
    const bytes = message.block?.value.byteLength ?? null
    if (bytes !== null && !source.free) this.limits.down.used(bytes, this.#opts.clock.monotonic())
    const pending = source.answered(message.id, bytes)
    if (pending === null) {
      if (message.block !== null) source.counters.blocksWasted++
    } else if (pending?.kind === 'block' && message.block !== null && message.upgrade === null) {
      this.#onblock(source, pending, message).catch(safetyCatch)
    } else if (pending?.kind === 'length' && message.upgrade !== null && message.block === null) {
      this.#lengths.onproof(source, pending, message).catch(safetyCatch)
    } else {
      this.#violation(source, 'answers what nobody asked')
      if (pending !== undefined) this.#lost(source, pending)
    }
    this.#schedule()
  }

  onunavailable(source: Source, id: number): void {
    const pending = source.answered(id, null)
    if (pending === undefined) return this.#violation(source, 'answers what nobody asked')
    if (pending === null) return
    if (pending.kind === 'block') {
      source.logs.get(pending.block.log)?.blocks.remove(pending.block.index)
    } else {
      const remote = source.logs.get(pending.watch.id)
      if (remote !== undefined) remote.length = Math.min(remote.length, pending.from)
    }
    this.#lost(source, pending)
    this.#schedule()
  }

  /** That source wants to be asked for bulk later. */
  onlater(source: Source, { id, ms }: Later): void {
    const pending = source.answered(id, null)
    if (pending === undefined) return this.#violation(source, 'answers what nobody asked')
    source.pause(ms)
    void this.#opts.clock.sleep(ms, this.#closing.signal).then(() => this.#schedule(), safetyCatch)
    if (pending !== null) this.#lost(source, pending)
  }

  close(): void {
    if (this.#closing.signal.aborted) return
    const err = new HyperparcelError('NETWORK_CLOSED', 'The network is closed')
    this.#closing.abort(err)
    for (const watch of this.#watches.values()) {
      for (const job of watch.jobs) this.#jobs.abandon(job, err)
      for (const waiter of watch.waiters) waiter.reject(err)
    }
  }

  #check(signal?: AbortSignal): void {
    this.#closing.signal.throwIfAborted()
    signal?.throwIfAborted()
  }

  async #open(id: string, key: Buffer): Promise<LogWatch> {
    const log = await this.#opts.store.open(key)
    const watch: LogWatch = {
      id,
      key,
      log,
      blocks: new Map(),
      jobs: new Set(),
      ahead: new ReadAhead(),
      parked: new Set(),
      waiters: new Set(),
      nodes: new KnownNodes(),
      follow: null,
      catchingUp: false,
      lengthAskedFrom: null
    }
    this.#watches.set(id, watch)
    log.on('stored', (index: number) => {
      const block = watch.blocks.get(index)
      if (block !== undefined) this.#jobs.finish(block)
    })
    log.on('length', () => this.#onlonger(watch))
    for (const source of this.#sources) source.channel.send.want({ log: key, on: true })
    return watch
  }

  #onlonger(watch: LogWatch): void {
    for (const waiter of watch.waiters) if (watch.log.length >= waiter.length) waiter.resolve()
    for (const job of watch.jobs) if (job.needsLength) this.#jobs.advance(job)
    this.#lengths.ask(watch)
    void catchUp(watch, this.#closing.signal, (...args) => this.fetch(...args))
  }

  #readAhead(watch: LogWatch, indexes: number[]): void {
    for (const index of indexes) {
      const { start, end } = watch.ahead.next(index, watch.log.length)
      if (start < end) this.#wantAhead(watch, start, end).catch(safetyCatch)
    }
  }

  async #wantAhead(watch: LogWatch, start: number, end: number): Promise<void> {
    for (let index = start; index < end; index++) {
      if (!(await watch.log.has(index))) this.#blocks.want(watch, index, RANK['working-set'])
    }
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      if (!this.#closing.signal.aborted) this.#run()
    })
  }

  #run(): void {
    const sources = [...this.#sources]
    const room = sources.reduce((sum, source) => sum + roomOf(source), 0)
    if (room === 0) return
    // With several sources, blocks that wait for a faster one are passed over.
    const max = Math.min(CHOICE_MAX, sources.length === 1 ? room : 8 * room)
    const blocks = this.#blocks.mostUrgent(max)
    const { requests, hopeless, idle } = choose(blocks, sources, this.#allowed())
    for (const block of hopeless) this.#blocks.park(block)
    for (const source of new Set(requests.map((request) => request.source))) {
      source.channel.together(() => {
        for (const request of requests) if (request.source === source) this.#request(request)
      })
    }
    if (idle.length > 0) this.#onidle(idle, blocks.length < max)
    if (requests.length > 0) this.#lateness.start()
    if (hopeless.length > 0) this.#schedule()
  }

  #request({ block, source, probe }: Choice<WantedBlock, Source>['requests'][number]): void {
    if (probe) source.probeBytes -= source.blockBytes
    const nodes = block.watch.nodes.missing(block.index, block.watch.log.length)
    const id = source.askBlock(block, nodes)
    this.#blocks.asked(block, source, id)
  }

  #allowed(): ChoiceLimits {
    const { down, metered } = this.limits
    let underWay = 0
    for (const source of this.#sources) if (!source.free) underWay += source.inFlightBytes
    const bulkBytes = down.allowance(this.#opts.clock.monotonic()) - underWay
    return { bulkBytes, rankMax: metered ? FOREGROUND : RANK.hoard }
  }

  /** These could send more: because nothing more is wanted, or because the limits hold it back. */
  #onidle(idle: Source[], all: boolean): void {
    const { down } = this.limits
    const nowMs = this.#opts.clock.monotonic()
    const { bulkBytes } = this.#allowed()
    if (all || bulkBytes <= 0) for (const source of idle) source.path.limited()
    if (bulkBytes > 0) {
      if (all) down.idle()
      return
    }
    if (this.#awaitingLimit || this.#blocks.empty) return
    this.#awaitingLimit = true
    const waitMs = Math.min(LIMIT_LOOK_MS, down.waitMs(nowMs, down.allowance(nowMs) - bulkBytes))
    void this.#opts.clock.sleep(waitMs, this.#closing.signal).then(() => {
      this.#awaitingLimit = false
      this.#schedule()
    }, safetyCatch)
  }

  async #onblock(
    source: Source,
    { block, nodes, demand, hedge }: PendingBlock,
    message: Proof
  ): Promise<void> {
    const { watch, index } = block
    const answer = message.block!
    const right = answer.index === index && answer.nodes.length <= nodes
    // Of several that were asked for it: storing it makes it done.
    const first = block.place !== 'done'
    let applied = false
    try {
      applied = right && (await watch.log.apply(toLogProof(message)))
    } catch (err) {
      block.asked.delete(source)
      return this.#jobs.fail(block, err)
    }
    if (!applied) {
      this.#violation(source, `sent something else for block ${index} of ${watch.id}`)
      return this.#blocks.lost(block, source)
    }
    block.asked.delete(source)
    watch.nodes.add(index, answer.nodes.length)
    source.counters.blocksIn++
    source.counters.blockBytesIn += answer.value.byteLength
    if (demand) source.counters.demandBytesIn += answer.value.byteLength
    if (hedge && first) source.counters.hedgesWon++
    for (const other of this.#sources) {
      if (other !== source) other.probeBytes += answer.value.byteLength * PROBE_SHARE
    }
    if (watch.blocks.get(index) === block) this.#jobs.finish(block)
    this.#schedule()
  }

  /** A source will not answer: others may. */
  #lost(source: Source, pending: Pending): void {
    if (pending.kind === 'length') this.#lengths.lost(pending.watch, source)
    else this.#blocks.lost(pending.block, source)
  }

  #unparkAll(): void {
    for (const watch of this.#watches.values()) this.#blocks.unpark(watch)
    this.#schedule() // others wait for room at a source that fell silent
  }

  #violation(source: Source, what: string): void {
    this.#opts.onviolation(source, new HyperparcelError('FORMAT_INVALID', `A peer ${what}`))
  }
}

/** How many requests more it may get, at most. */
function roomOf(source: Source): number {
  const bytes = source.windowBytes + DEMAND_BYTES - source.inFlightBytes
  return Math.max(0, Math.min(REQUESTS_MAX - source.inFlight, Math.ceil(bytes / source.blockBytes)))
}
