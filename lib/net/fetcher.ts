/**
 * Gets blocks and lengths of logs from peers. Several small state machines share the tables here:
 *
 *   fetch() ─▶ FetchJob ─(a window of its indexes)─▶ WantedBlock: queued ─▶ asked ─▶ done
 *                                                      │  ▲          │
 *                                      nobody offers it ▼  │ have     │ gone, silent, unavailable
 *                                                     parked ◀────────┘
 *
 * Invariants
 * - One WantedBlock for each (log, index), however many jobs want it; never asked twice from one source.
 * - A block is done when the store says so: verified and stored there, from wherever it came.
 * - A job waits without limit; only its signal, a full disk or the end of the network ends it.
 * - What to request next from whom is `choose()`; this file carries it out.
 *
 * Applying proofs of blocks needs no order: each is verified against nodes that were in the tree when it was
 * asked for, and Hypercore stores those of one log in groups under its lock. Upgrades are asked for one at a
 * time per log.
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
  LogProof,
  LogStorePort
} from '../store/ports.ts'
import { choose } from './choose.ts'
import { ReadAhead } from './read-ahead.ts'
import type { Pending, Source } from './source.ts'
import { RANK, type FetchJob, type LogWatch, type WantedBlock } from './watch.ts'

/** Blocks of one job that are queued or asked for at a time. */
const JOB_WINDOW = 128
/** Blocks looked at in one decision. */
const CHOICE_MAX = 256
/** Blocks handed to one catch-up job of a followed log. */
const CATCH_UP_MAX = 256
const CHECK_INTERVAL_MS = 250

export interface FetcherOptions {
  store: LogStorePort
  clock: Clock
  /** That source sent something that no honest peer sends. */
  onviolation(source: Source, err: HyperparcelError): void
  /** A source shows a history of a log that contradicts what is stored here. */
  onconflict(log: Buffer, source: Source): void
}

export class Fetcher implements BlockFetcher {
  readonly #opts: FetcherOptions
  readonly #watches = new Map<string, LogWatch>()
  readonly #opening = new Map<string, Promise<LogWatch>>()
  readonly #sources = new Set<Source>()
  /** By rank, those that were asked for in vain before the others: 2 × rank + (retried ? 0 : 1). */
  readonly #queues = Array.from({ length: 8 }, () => new Set<WantedBlock>())
  readonly #closing = new AbortController()
  #scheduled = false
  #timer: NodeJS.Timeout | null = null

  constructor(opts: FetcherOptions) {
    this.#opts = opts
  }

  async fetch(key: Buffer, indexes: number[], opts: FetchOptions): Promise<void> {
    this.#check(opts.signal)
    const watch = await this.watch(key)
    this.#check(opts.signal)
    if (opts.priority === 'demand') this.#readAhead(watch, indexes)
    await new Promise<void>((resolve, reject) => {
      const job = createJob(watch, indexes, RANK[opts.priority], resolve, reject)
      const onabort = () => this.#abandon(job, opts.signal!.reason)
      opts.signal?.addEventListener('abort', onabort, { once: true })
      const settle = (): void => opts.signal?.removeEventListener('abort', onabort)
      job.resolve = () => (settle(), resolve())
      job.reject = (err) => (settle(), reject(err))
      watch.jobs.add(job)
      this.#fill(job)
    })
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
      this.#askLength(watch)
    })
  }

  /** Keeps the log's length and all its blocks up to date from whoever has them. */
  async follow(key: Buffer, priority: FetchPriority): Promise<void> {
    const watch = await this.watch(key)
    watch.follow = priority
    this.#askLength(watch)
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

  /** Does anybody wait for something that no connected peer offers? */
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
    for (const watch of this.#watches.values())
      source.channel.send.want({ log: watch.key, on: true })
  }

  removeSource(source: Source): void {
    if (!this.#sources.delete(source)) return
    for (const [id, pending] of source.pending) {
      source.pending.delete(id)
      this.#lost(source, pending)
    }
    this.#schedule()
  }

  onhave(source: Source, have: Have): void {
    const id = have.log.toString('hex')
    const watch = this.#watches.get(id)
    if (watch === undefined) return
    source.onhave(id, have)
    this.#compare(watch, source).catch(safetyCatch)
    this.#askLength(watch)
    this.#unpark(watch)
    this.#schedule()
  }

  onproof(source: Source, message: Proof): void {
    const pending = source.answered(message.id, this.#opts.clock.monotonic())
    if (pending === null) {
      if (message.block !== null) source.counters.blocksWasted++
      return
    }
    if (pending?.kind === 'block' && message.block !== null && message.upgrade === null) {
      this.#onblock(source, pending, message).catch(safetyCatch)
    } else if (pending?.kind === 'length' && message.upgrade !== null && message.block === null) {
      this.#onlength(source, pending, message).catch(safetyCatch)
    } else {
      if (pending !== undefined) this.#lost(source, pending)
      this.#violation(source, 'answers what nobody asked')
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
      for (const job of watch.jobs) this.#abandon(job, err)
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
      follow: null,
      catchingUp: false,
      lengthAskedFrom: null
    }
    this.#watches.set(id, watch)
    log.on('stored', (index: number) => {
      const block = watch.blocks.get(index)
      if (block !== undefined) this.#finish(block)
    })
    log.on('length', () => this.#onlonger(watch))
    for (const source of this.#sources) source.channel.send.want({ log: key, on: true })
    return watch
  }

  // Jobs

  /** Keeps a window of the job's blocks wanted; resolves it when all are here. */
  #fill(job: FetchJob): void {
    if (job.filling || job.done) return
    job.filling = true
    this.#fillWindow(job)
      .catch((err: unknown) => this.#abandon(job, err))
      .finally(() => {
        job.filling = false
        if (!job.done && !job.needsLength && job.open < JOB_WINDOW / 2) {
          if (job.cursor < job.indexes.length) this.#fill(job)
          else if (job.open === 0) this.#resolve(job)
        }
      })
  }

  async #fillWindow(job: FetchJob): Promise<void> {
    const { watch, indexes } = job
    job.needsLength = false
    while (!job.done && job.open < JOB_WINDOW && job.cursor < indexes.length) {
      const index = indexes[job.cursor]
      if (index >= watch.log.length) {
        job.needsLength = true
        this.#askLength(watch)
        return
      }
      if (await watch.log.has(index)) {
        job.cursor++
        continue
      }
      if (job.done) return
      job.cursor++
      job.open++
      this.#want(watch, index, job.rank).jobs.add(job)
    }
  }

  #resolve(job: FetchJob): void {
    job.done = true
    job.watch.jobs.delete(job)
    job.resolve()
  }

  #abandon(job: FetchJob, reason: unknown): void {
    if (job.done) return
    job.done = true
    job.watch.jobs.delete(job)
    for (const block of job.watch.blocks.values()) {
      if (block.jobs.delete(job) && block.jobs.size === 0) this.#drop(block)
    }
    job.reject(reason)
  }

  #readAhead(watch: LogWatch, indexes: number[]): void {
    for (const index of indexes) {
      const { start, end } = watch.ahead.next(index, watch.log.length)
      if (start < end) this.#wantAhead(watch, start, end).catch(safetyCatch)
    }
  }

  async #wantAhead(watch: LogWatch, start: number, end: number): Promise<void> {
    for (let index = start; index < end; index++) {
      if (!(await watch.log.has(index))) this.#want(watch, index, RANK['working-set'])
    }
  }

  // Blocks

  #want(watch: LogWatch, index: number, rank: number): WantedBlock {
    let block = watch.blocks.get(index)
    if (block === undefined) {
      block = {
        watch,
        log: watch.id,
        index,
        rank,
        demand: rank === RANK.demand,
        jobs: new Set(),
        asked: new Map(),
        retried: false,
        place: 'queued'
      }
      watch.blocks.set(index, block)
      this.#queue(block)
    } else if (rank < block.rank) this.#raise(block, rank)
    return block
  }

  /** Somebody wants it more urgently than those before. */
  #raise(block: WantedBlock, rank: number): void {
    const raised = !block.demand && rank === RANK.demand
    if (block.place === 'queued') this.#queueOf(block).delete(block)
    block.rank = rank
    block.demand = rank === RANK.demand
    if (block.place === 'queued') this.#queue(block)
    if (!raised) return
    for (const [source, id] of block.asked) source.channel.send.raise({ id })
  }

  #queueOf(block: WantedBlock): Set<WantedBlock> {
    return this.#queues[2 * block.rank + (block.retried ? 0 : 1)]
  }

  #queue(block: WantedBlock): void {
    block.place = 'queued'
    this.#queueOf(block).add(block)
    this.#schedule()
  }

  #unpark(watch: LogWatch): void {
    for (const block of watch.parked) {
      watch.parked.delete(block)
      this.#queue(block)
    }
  }

  /** It is here. */
  #finish(block: WantedBlock): void {
    this.#drop(block)
    for (const job of block.jobs) {
      job.open--
      if (job.open === 0 && job.cursor === job.indexes.length && !job.filling) this.#resolve(job)
      else this.#fill(job)
    }
  }

  /** Nobody wants it any more, or it is here. */
  #drop(block: WantedBlock): void {
    if (block.place === 'queued') this.#queueOf(block).delete(block)
    if (block.place === 'parked') block.watch.parked.delete(block)
    block.place = 'done'
    block.watch.blocks.delete(block.index)
    for (const [source, id] of block.asked) source.cancel(id)
    block.asked.clear()
  }

  /** A source will not answer, or not now: others may. */
  #lost(source: Source, pending: Pending): void {
    if (pending.kind === 'length') {
      pending.watch.lengthAskedFrom = null
      this.#askLength(pending.watch)
      return
    }
    const { block } = pending
    block.asked.delete(source)
    if (block.place === 'asked' && block.asked.size === 0) this.#retry(block)
  }

  #retry(block: WantedBlock): void {
    block.retried = true
    this.#queue(block)
  }

  // Requests and answers

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#run()
    })
  }

  #run(): void {
    if (this.#closing.signal.aborted || this.#sources.size === 0) return
    const sources = [...this.#sources]
    let room = 0
    for (const { window, inFlight } of sources) room += Math.max(0, window.demand - inFlight)
    if (room === 0) return
    const blocks = this.#mostUrgent(Math.min(CHOICE_MAX, 2 * room))
    if (blocks.length === 0) return
    const { requests, hopeless } = choose(blocks, sources)
    for (const block of hopeless) {
      this.#queueOf(block).delete(block)
      block.place = 'parked'
      block.watch.parked.add(block)
    }
    for (const { block, source } of requests) {
      this.#queueOf(block).delete(block)
      block.place = 'asked'
      this.#request(source, block).catch(safetyCatch)
    }
    if (hopeless.length > 0) this.#schedule()
  }

  #mostUrgent(max: number): WantedBlock[] {
    const blocks: WantedBlock[] = []
    for (const queue of this.#queues) {
      for (const block of queue) {
        if (blocks.push(block) === max) return blocks
      }
    }
    return blocks
  }

  async #request(source: Source, block: WantedBlock): Promise<void> {
    const askedAtMs = this.#opts.clock.monotonic()
    const pending: Pending & { kind: 'block' } = { kind: 'block', block, nodes: 0, askedAtMs }
    const id = source.ask(pending)
    block.asked.set(source, id)
    this.#startTimer()
    try {
      pending.nodes = await block.watch.log.missingNodes(block.index)
    } catch (err) {
      source.cancel(id)
      block.asked.delete(source)
      this.#fail(block, err)
      return
    }
    if (!source.pending.has(id)) return
    const { index, demand, watch } = block
    const { nodes } = pending
    source.channel.send.blockRequest({ id, log: watch.key, index, nodes, demand })
  }

  async #onblock(
    source: Source,
    pending: Pending & { kind: 'block' },
    message: Proof
  ): Promise<void> {
    const { block, nodes } = pending
    const { log } = block.watch
    const answer = message.block!
    block.asked.delete(source)
    if (answer.index !== block.index || answer.nodes.length > nodes) {
      this.#violation(source, 'answers with another block')
      this.#requeue(block)
      return
    }
    if (block.place === 'done') {
      source.counters.blocksWasted++
      return
    }
    const bytes = answer.value.byteLength
    let applied: boolean
    try {
      applied = await log.apply(toLogProof(message))
    } catch (err) {
      this.#fail(block, err)
      return
    }
    if (!applied) {
      this.#violation(source, `sent a block that does not verify: ${block.index} of ${block.log}`)
      this.#requeue(block)
      return
    }
    source.counters.blocksIn++
    source.counters.blockBytesIn += bytes
    if (block.demand) source.counters.demandBytesIn += bytes
    if (watchHas(block)) this.#finish(block)
    this.#schedule()
  }

  #requeue(block: WantedBlock): void {
    if (block.place === 'asked' && block.asked.size === 0) this.#retry(block)
  }

  /** The store refuses it: whoever waits must know. */
  #fail(block: WantedBlock, err: unknown): void {
    this.#drop(block)
    for (const job of block.jobs) this.#abandon(job, err)
  }

  // Lengths

  #askLength(watch: LogWatch): void {
    if (watch.lengthAskedFrom !== null || this.#closing.signal.aborted) return
    const { log } = watch
    if (!watch.log.writable && watch.follow === null && lengthNeeded(watch) <= log.length) return
    let best: Source | null = null
    let longest = log.length
    for (const source of this.#sources) {
      const remote = source.logs.get(watch.id)
      if (remote === undefined || remote.conflicted || source.silent) continue
      if (remote.length > longest) [best, longest] = [source, remote.length]
    }
    if (best === null) return
    const from = log.length
    const askedAtMs = this.#opts.clock.monotonic()
    watch.lengthAskedFrom = best
    const id = best.ask({ kind: 'length', watch, from, askedAtMs })
    best.channel.send.lengthRequest({ id, log: watch.key, from })
    this.#startTimer()
  }

  async #onlength(
    source: Source,
    { watch, from }: Pending & { kind: 'length' },
    message: Proof
  ): Promise<void> {
    const { log } = watch
    try {
      if (message.upgrade!.start !== from) {
        this.#violation(source, 'answers with another length')
      } else if (log.length === from && !(await log.apply(toLogProof(message)))) {
        this.#onbadlength(watch, source, from)
      }
    } finally {
      watch.lengthAskedFrom = null
      this.#askLength(watch)
    }
  }

  #onbadlength(watch: LogWatch, source: Source, from: number): void {
    // An own log may have grown meanwhile.
    if (watch.log.length !== from) return
    if (from === 0) return this.#violation(source, `sent a length that does not verify`)
    this.#conflict(watch, source)
  }

  #onlonger(watch: LogWatch): void {
    for (const waiter of watch.waiters) if (watch.log.length >= waiter.length) waiter.resolve()
    for (const job of watch.jobs) if (job.needsLength) this.#fill(job)
    this.#askLength(watch)
    void this.#catchUp(watch)
  }

  /** Does what the source says of the log fit what is stored here? */
  async #compare(watch: LogWatch, source: Source): Promise<void> {
    const remote = source.logs.get(watch.id)!
    const { length, treeHash } = remote
    if (treeHash === null || length === 0 || length > watch.log.length) return
    const ours = await watch.log.treeHash(length).catch(() => null)
    if (ours !== null && !ours.equals(treeHash)) this.#conflict(watch, source)
  }

  #conflict(watch: LogWatch, source: Source): void {
    const remote = source.logs.get(watch.id)
    if (remote === undefined || remote.conflicted) return
    remote.conflicted = true
    this.#opts.onconflict(watch.key, source)
  }

  async #catchUp(watch: LogWatch): Promise<void> {
    if (watch.catchingUp) return
    watch.catchingUp = true
    const { log } = watch
    try {
      for (let at = 0; watch.follow !== null;) {
        const indexes = await missing(log, at, CATCH_UP_MAX)
        if (indexes.length === 0) break
        const signal = this.#closing.signal
        await this.fetch(watch.key, indexes, { priority: watch.follow, signal })
        at = indexes.at(-1)! + 1
      }
    } catch (err) {
      safetyCatch(err)
    } finally {
      watch.catchingUp = false
    }
  }

  // Time

  #startTimer(): void {
    this.#timer ??= setInterval(() => this.#tick(), CHECK_INTERVAL_MS).unref()
  }

  #tick(): void {
    const nowMs = this.#opts.clock.monotonic()
    let busy = false
    for (const source of this.#sources) {
      if (source.check(nowMs) || source.silent) this.#onsilence(source)
      else this.#giveUpOverdue(source, nowMs)
      busy ||= source.pending.size > 0
    }
    if (busy || this.#timer === null) return
    clearInterval(this.#timer)
    this.#timer = null
  }

  /** What it owes may come from others; its late answers still count. */
  #onsilence(source: Source): void {
    if (!source.silent) {
      for (const watch of this.#watches.values()) this.#unpark(watch)
      return
    }
    for (const pending of source.pending.values()) {
      if (pending.kind === 'length') {
        if (pending.watch.lengthAskedFrom === source) pending.watch.lengthAskedFrom = null
        this.#askLength(pending.watch)
      } else if (pending.block.place === 'asked' && allSilent(pending.block)) {
        this.#retry(pending.block)
      }
    }
  }

  /** It lives, but this answer never came. */
  #giveUpOverdue(source: Source, nowMs: number): void {
    for (const [id, pending] of source.pending) {
      if (nowMs - pending.askedAtMs < source.window.patienceMs) continue
      source.cancel(id)
      this.#lost(source, pending)
    }
  }

  #violation(source: Source, what: string): void {
    this.#opts.onviolation(source, new HyperparcelError('FORMAT_INVALID', `A peer ${what}`))
  }
}

function createJob(
  watch: LogWatch,
  indexes: number[],
  rank: number,
  resolve: () => void,
  reject: (err: unknown) => void
): FetchJob {
  return {
    watch,
    indexes,
    rank,
    cursor: 0,
    open: 0,
    filling: false,
    needsLength: false,
    done: false,
    resolve,
    reject
  }
}

function lengthNeeded(watch: LogWatch): number {
  let length = 0
  for (const waiter of watch.waiters) length = Math.max(length, waiter.length)
  for (const job of watch.jobs) {
    if (job.needsLength) length = Math.max(length, job.indexes[job.cursor] + 1)
  }
  return length
}

/** The block's entry is still wanted: the store did not say yet that it is here. */
function watchHas(block: WantedBlock): boolean {
  return block.watch.blocks.get(block.index) === block
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

function toLogProof({ block, upgrade, manifest }: Proof): LogProof {
  return {
    fork: 0,
    block,
    hash: null,
    seek: null,
    upgrade: upgrade === null ? null : { ...upgrade, additionalNodes: [] },
    manifest
  }
}
