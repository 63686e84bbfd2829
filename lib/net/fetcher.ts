/**
 * Gets blocks and lengths of logs from peers. The tables are in `blocks.ts`, `jobs.ts` and `lengths.ts`; what to
 * request next from whom is decided by `choose.ts`; this file carries it out and watches the time.
 *
 * Invariants
 * - A block is done when it is verified and stored, from wherever it came.
 * - A block is never asked for twice from one source while an answer may still come.
 * - What a silent source owes may be asked for elsewhere; its late answers still count.
 *
 * Applying proofs of blocks needs no order: each is verified against nodes that were in the tree when it was
 * asked for, and Hypercore stores those of one log in groups under its lock.
 */
import safetyCatch from 'safety-catch'
import type { Clock } from '../base/clock.ts'
import { HyperparcelError } from '../base/errors.ts'
import type { Have, Proof } from '../format/fetch.ts'
import type {
  BlockFetcher,
  FetchOptions,
  FetchPriority,
  Log,
  LogStorePort
} from '../store/ports.ts'
import { Blocks } from './blocks.ts'
import { choose } from './choose.ts'
import { Jobs } from './jobs.ts'
import { KnownNodes } from './known-nodes.ts'
import { Lengths } from './lengths.ts'
import { ReadAhead } from './read-ahead.ts'
import type { Pending, Source } from './source.ts'
import { toLogProof } from './to-log-proof.ts'
import { RANK, type LogWatch, type WantedBlock } from './watch.ts'

/** Blocks looked at in one decision. */
const CHOICE_MAX = 256
/** Blocks handed to one catch-up job of a followed log. */
const CATCH_UP_MAX = 256
const CHECK_INTERVAL_MS = 250

export interface FetcherOptions {
  store: LogStorePort
  clock: Clock
  /** That source sent something that no honest peer sends. It must be removed before this returns. */
  onviolation(source: Source, err: HyperparcelError): void
  /** A source shows a history of a log that contradicts what is stored here. */
  onconflict(log: Buffer, source: Source): void
}

export class Fetcher implements BlockFetcher {
  readonly #opts: FetcherOptions
  readonly #watches = new Map<string, LogWatch>()
  readonly #opening = new Map<string, Promise<LogWatch>>()
  readonly #sources = new Set<Source>()
  readonly #blocks: Blocks
  readonly #jobs: Jobs
  readonly #lengths: Lengths
  readonly #closing = new AbortController()
  #scheduled = false
  #timer: NodeJS.Timeout | null = null

  constructor(opts: FetcherOptions) {
    this.#opts = opts
    this.#blocks = new Blocks(() => this.#schedule())
    this.#lengths = new Lengths({
      sources: this.#sources,
      nowMs: () => opts.clock.monotonic(),
      onasked: () => this.#startTimer(),
      onviolation: (source, what) => this.#violation(source, what),
      onconflict: (log, source) => opts.onconflict(log, source)
    })
    this.#jobs = new Jobs(this.#blocks, (watch) => this.#lengths.ask(watch))
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
    void this.#catchUp(watch)
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
    return [...this.#sources]
      .filter((source) => source.logs.get(id)?.blocks.covers(start, end))
      .map((source) => source.key)
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
    const pending = source.answered(message.id, this.#opts.clock.monotonic())
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
    const pending = source.answered(id, this.#opts.clock.monotonic())
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

  close(): void {
    if (this.#closing.signal.aborted) return
    const err = new HyperparcelError('NETWORK_CLOSED', 'The network is closed')
    this.#closing.abort(err)
    if (this.#timer !== null) clearInterval(this.#timer)
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
    void this.#catchUp(watch)
  }

  async #catchUp(watch: LogWatch): Promise<void> {
    if (watch.catchingUp) return
    watch.catchingUp = true
    const { signal } = this.#closing
    try {
      for (let at = 0; watch.follow !== null;) {
        const indexes = await missing(watch.log, at, CATCH_UP_MAX)
        if (indexes.length === 0) break
        await this.fetch(watch.key, indexes, { priority: watch.follow, signal })
        at = indexes.at(-1)! + 1
      }
    } catch (err) {
      safetyCatch(err)
    } finally {
      watch.catchingUp = false
    }
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
    let room = 0
    for (const { window, inFlight } of sources) room += Math.max(0, window.demand - inFlight)
    if (room === 0) return
    const blocks = this.#blocks.mostUrgent(Math.min(CHOICE_MAX, 2 * room))
    const { requests, hopeless } = choose(blocks, sources)
    for (const block of hopeless) this.#blocks.park(block)
    for (const { block, source } of requests) this.#request(source, block)
    if (hopeless.length > 0) this.#schedule()
  }

  #request(source: Source, block: WantedBlock): void {
    const { index, demand, watch } = block
    const askedAtMs = this.#opts.clock.monotonic()
    const nodes = watch.nodes.missing(index, watch.log.length)
    const id = source.ask({ kind: 'block', block, nodes, askedAtMs })
    this.#blocks.asked(block, source, id)
    source.channel.send.blockRequest({ id, log: watch.key, index, nodes, demand })
    this.#startTimer()
  }

  async #onblock(
    source: Source,
    { block, nodes }: Pending & { kind: 'block' },
    message: Proof
  ): Promise<void> {
    const { watch, index } = block
    const answer = message.block!
    const right = answer.index === index && answer.nodes.length <= nodes
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
    if (block.demand) source.counters.demandBytesIn += answer.value.byteLength
    if (watch.blocks.get(index) === block) this.#jobs.finish(block)
    this.#schedule()
  }

  /** A source will not answer: others may. */
  #lost(source: Source, pending: Pending): void {
    if (pending.kind === 'length') this.#lengths.lost(pending.watch, source)
    else this.#blocks.lost(pending.block, source)
  }

  #startTimer(): void {
    this.#timer ??= setInterval(() => this.#tick(), CHECK_INTERVAL_MS).unref()
  }

  #tick(): void {
    const nowMs = this.#opts.clock.monotonic()
    let busy = false
    for (const source of this.#sources) {
      const changed = source.check(nowMs)
      if (source.silent) this.#onsilent(source)
      else if (changed) for (const watch of this.#watches.values()) this.#blocks.unpark(watch)
      for (const id of source.overdue(nowMs)) {
        const pending = source.pending.get(id)!
        source.cancel(id)
        this.#lost(source, pending)
      }
      busy ||= source.pending.size > 0
    }
    if (busy || this.#timer === null) return
    clearInterval(this.#timer)
    this.#timer = null
  }

  #onsilent(source: Source): void {
    for (const pending of source.pending.values()) {
      if (pending.kind === 'length') this.#lengths.lost(pending.watch, source)
      else if (pending.block.place === 'asked' && allSilent(pending.block)) {
        this.#blocks.retry(pending.block)
      }
    }
  }

  #violation(source: Source, what: string): void {
    this.#opts.onviolation(source, new HyperparcelError('FORMAT_INVALID', `A peer ${what}`))
  }
}

function allSilent(block: WantedBlock): boolean {
  for (const source of block.asked.keys()) if (!source.silent) return false
  return true
}

async function missing(log: Log, from: number, max: number): Promise<number[]> {
  const indexes: number[] = []
  let index = await log.firstMissing(from, log.length)
  while (index !== -1 && indexes.length < max) {
    indexes.push(index)
    index = await log.firstMissing(index + 1, log.length)
  }
  return indexes
}
