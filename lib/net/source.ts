/** One peer as a source of blocks: what it has, what it owes us, how it behaves. */
import type { Have } from '../format/fetch.ts'
import type { ChoosableSource } from './choose.ts'
import type { PeerCounters } from './counters.ts'
import type { FetchChannel } from './fetch-channel.ts'
import { Path, type Sent } from './path.ts'
import { RunSet } from './run-set.ts'
import type { LogWatch, WantedBlock } from './watch.ts'

/** Runs remembered of one log of one peer. */
const RUNS_MAX = 65_536
/** Bytes that arrive between two looks and are more than keep-alives. */
const LIFE_BYTES_MIN = 64
/** After that many times what was expected something should have come, and then after so much more. */
const LATE_RATIO = 2
const LATE_MS = 50
const EXPECTED_MS_UNKNOWN = 500
/** It is silent when it is late by that many times that, within limits. */
const SILENT_RATIO = 4
const SILENT_MS_MIN = 1000
const SILENT_MS_MAX = 10_000
/** Later than this, an answer is overdue although the peer lives. */
const OVERDUE_MS_MIN = 30_000
const OVERDUE_RATIO = 20
/** Answers that may still come for what was cancelled, besides those that we know of. */
const STRAY_ANSWERS_MAX = 64

export interface RemoteLog {
  length: number
  treeHash: Buffer | null
  blocks: RunSet
  /** It shows a history that contradicts ours: never asked again. */
  conflicted: boolean
}

export interface PendingBlock {
  kind: 'block'
  block: WantedBlock
  nodes: number
  sent: Sent
  /** Later than that, another source should be asked too. */
  lateAtMs: number
  demand: boolean
  /** Asked because another was late. */
  hedge: boolean
}

export interface PendingLength {
  kind: 'length'
  watch: LogWatch
  from: number
  askedAtMs: number
}

export type Pending = PendingBlock | PendingLength

export interface SourceOptions {
  key: Buffer
  channel: FetchChannel
  counters: PeerCounters
  /** Bytes that came, however little of a message they are. */
  bytesRead(): number
  nowMs(): number
  /** It is on this machine: no limit of bandwidth is meant for it. */
  free?: boolean
}

export class Source implements ChoosableSource<WantedBlock> {
  readonly key: Buffer
  readonly channel: FetchChannel
  readonly counters: PeerCounters
  readonly logs = new Map<string, RemoteLog>()
  readonly pending = new Map<number, Pending>()
  readonly path = new Path()
  readonly #opts: SourceOptions
  silent = false
  /** For so long it should have sent something and did not, milliseconds. */
  lateMs = 0
  /** What may be asked of it just to know how fast it is. */
  probeBytes = 0
  demandBytes = 0
  #pausedUntilMs = 0
  #nextId = 1
  #strays = STRAY_ANSWERS_MAX
  #bytesRead = 0
  #aliveAtMs = 0

  constructor(opts: SourceOptions) {
    this.key = opts.key
    this.channel = opts.channel
    this.counters = opts.counters
    this.#opts = opts
  }

  get baseMs(): number {
    return this.path.baseMs
  }

  get rate(): number {
    return this.path.rate
  }

  get blockBytes(): number {
    return this.path.blockBytes
  }

  get inFlight(): number {
    return this.path.inFlight
  }

  get inFlightBytes(): number {
    return this.path.inFlightBytes
  }

  get windowBytes(): number {
    return this.path.windowBytes
  }

  get paused(): boolean {
    return this.#pausedUntilMs > this.#opts.nowMs()
  }

  /** Measured: round trip without queues, milliseconds, and bytes per second; null before there is anything. */
  get measured(): { baseRttMs: number; rateDown: number } | null {
    if (!this.path.measured) return null
    return { baseRttMs: this.path.baseMs, rateDown: Math.round(this.path.rate * 1000) }
  }

  get free(): boolean {
    return this.#opts.free ?? false
  }

  offers(block: WantedBlock): boolean {
    const remote = this.logs.get(block.log)
    if (remote === undefined || remote.conflicted) return false
    return !block.asked.has(this) && remote.blocks.has(block.index)
  }

  onhave(id: string, have: Have): RemoteLog {
    let remote = this.logs.get(id)
    if (remote === undefined) {
      remote = { length: 0, treeHash: null, blocks: new RunSet(RUNS_MAX), conflicted: false }
      this.logs.set(id, remote)
    }
    if (have.reset) remote.blocks.clear()
    remote.length = have.length
    remote.treeHash = have.treeHash
    for (const run of have.runs) {
      if (run.start + run.count <= have.length) remote.blocks.add(run.start, run.count)
    }
    return remote
  }

  /** Asks for a block; returns the id of the request. */
  askBlock(block: WantedBlock, nodes: number): number {
    const nowMs = this.#opts.nowMs()
    const { rank, index, watch } = block
    const id = this.#note(nowMs)
    const demand = rank === 0
    const sent = this.path.sent(nowMs)
    const hedge = block.asked.size > 0
    const lateAtMs = nowMs + this.#lateAfterMs(demand)
    this.pending.set(id, { kind: 'block', block, nodes, sent, lateAtMs, demand, hedge })
    if (demand) this.demandBytes += sent.bytes
    if (hedge) this.counters.hedges++
    this.channel.send.blockRequest({ id, log: watch.key, index, nodes, rank })
    return id
  }

  askLength(watch: LogWatch, from: number): void {
    const askedAtMs = this.#opts.nowMs()
    const id = this.#note(askedAtMs)
    this.pending.set(id, { kind: 'length', watch, from, askedAtMs })
    this.channel.send.lengthRequest({ id, log: watch.key, from })
  }

  /** What was asked for is more urgent now. */
  raise(id: number, rank: number): void {
    const pending = this.pending.get(id)
    if (pending?.kind !== 'block') return
    this.channel.send.raise({ id, rank })
    if (rank > 0 || pending.demand) return
    pending.demand = true
    this.demandBytes += pending.sent.bytes
    pending.lateAtMs = this.#opts.nowMs() + this.#lateAfterMs(true)
  }

  /**
   * What an answer is for; null when it was cancelled. Undefined when nothing like it was ever asked. `bytes`: of
   * the block that came, if any.
   */
  answered(id: number, bytes: number | null): Pending | null | undefined {
    const nowMs = this.#opts.nowMs()
    this.#aliveAtMs = nowMs
    this.lateMs = 0
    const pending = this.pending.get(id)
    if (pending === undefined) return id < this.#nextId && this.#strays-- > 0 ? null : undefined
    this.pending.delete(id)
    if (pending.kind === 'length') return pending
    if (pending.demand) this.demandBytes -= pending.sent.bytes
    if (bytes === null) this.path.forgotten(pending.sent)
    else this.path.delivered(pending.sent, bytes, nowMs)
    return pending
  }

  /** No longer interested. */
  cancel(id: number): void {
    const pending = this.pending.get(id)
    if (pending === undefined) return
    this.pending.delete(id)
    if (pending.kind === 'block') {
      if (pending.demand) this.demandBytes -= pending.sent.bytes
      this.path.forgotten(pending.sent)
    }
    this.#strays++
    if (!this.channel.closed) this.channel.send.cancel({ id })
  }

  /** It asked not to be asked for bulk for so long. */
  pause(ms: number): void {
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, this.#opts.nowMs() + ms)
  }

  /**
   * Looks for signs of life. True when that changed whether it is silent. `stalledMs`: for so long this process
   * could not look, nor read.
   */
  check(nowMs: number, stalledMs: number): boolean {
    const bytesRead = this.#opts.bytesRead()
    const quiet = bytesRead - this.#bytesRead < LIFE_BYTES_MIN
    this.#aliveAtMs = quiet && this.pending.size > 0 ? this.#aliveAtMs + stalledMs : nowMs
    this.#bytesRead = bytesRead
    this.path.check(nowMs)
    const expectedMs = this.#lateAfterMs(false)
    this.lateMs = Math.max(0, nowMs - this.#aliveAtMs - expectedMs)
    const limitMs = Math.min(SILENT_MS_MAX, Math.max(SILENT_MS_MIN, SILENT_RATIO * expectedMs))
    const silent = this.lateMs > limitMs
    const changed = silent !== this.silent
    this.silent = silent
    return changed
  }

  /** Requests that it should have answered long ago, although it lives. */
  overdue(nowMs: number): number[] {
    if (this.silent) return []
    const limitMs = Math.max(OVERDUE_MS_MIN, OVERDUE_RATIO * this.path.expectedMs(this.blockBytes))
    const ids: number[] = []
    for (const [id, pending] of this.pending) {
      const askedAtMs = pending.kind === 'block' ? pending.sent.sentAtMs : pending.askedAtMs
      if (nowMs - askedAtMs > limitMs) ids.push(id)
    }
    return ids
  }

  #note(nowMs: number): number {
    if (this.pending.size === 0) this.#aliveAtMs = nowMs
    return this.#nextId++
  }

  /** Demand overtakes bulk in the far side's queue. */
  #lateAfterMs(demand: boolean): number {
    const { path } = this
    if (path.rate === 0) return LATE_MS + EXPECTED_MS_UNKNOWN
    const bulkBytes = path.inFlightBytes - this.demandBytes
    const ahead = demand ? this.demandBytes + Math.min(bulkBytes, 2 * path.blockBytes) : 0
    const bytes = ahead + 2 * path.blockBytes
    return LATE_MS + LATE_RATIO * (path.baseMs + bytes / path.rate)
  }
}
