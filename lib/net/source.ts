/** One peer as a source of blocks: what it has, what it owes us, how it behaves. */
import type { Have } from '../format/fetch.ts'
import type { ChoosableSource } from './choose.ts'
import type { PeerCounters } from './counters.ts'
import type { FetchChannel } from './fetch-channel.ts'
import { RunSet } from './run-set.ts'
import type { LogWatch, WantedBlock } from './watch.ts'
import { Window } from './window.ts'

/** Runs remembered of one log of one peer. */
const RUNS_MAX = 65_536
/** Bytes that arrive between two looks and are more than keep-alives. */
const LIFE_BYTES_MIN = 64
/** A peer that owes us something and sends nothing for this many round trips is silent; within limits. */
const SILENT_RTTS = 10
const SILENT_MS_MIN = 1500
const SILENT_MS_MAX = 10_000
/** Before anything was measured. */
const RTT_MS_UNKNOWN = 100
/** Answers that may still come for what was cancelled, besides those that we know of. */
const STRAY_ANSWERS_MAX = 64

export interface RemoteLog {
  length: number
  treeHash: Buffer | null
  blocks: RunSet
  /** It shows a history that contradicts ours: never asked again. */
  conflicted: boolean
}

export type Pending =
  | { kind: 'block'; block: WantedBlock; nodes: number; askedAtMs: number }
  | { kind: 'length'; watch: LogWatch; from: number; askedAtMs: number }

export interface SourceOptions {
  key: Buffer
  channel: FetchChannel
  counters: PeerCounters
  /** Milliseconds, 0 or undefined where the transport does not know. */
  rttMs(): number | undefined
  bytesRead(): number
}

export class Source implements ChoosableSource<WantedBlock> {
  readonly key: Buffer
  readonly channel: FetchChannel
  readonly counters: PeerCounters
  readonly logs = new Map<string, RemoteLog>()
  readonly window = new Window()
  readonly pending = new Map<number, Pending>()
  readonly #opts: SourceOptions
  inFlight = 0
  silent = false
  #nextId = 1
  #strays = STRAY_ANSWERS_MAX
  #measuredMs = 0
  #bytesRead = 0
  #aliveAtMs = 0

  constructor(opts: SourceOptions) {
    this.key = opts.key
    this.channel = opts.channel
    this.counters = opts.counters
    this.#opts = opts
  }

  get rttMs(): number {
    return this.#opts.rttMs() || this.#measuredMs || RTT_MS_UNKNOWN
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

  /** Notes that something is asked for; returns the id for the request. */
  ask(pending: Pending): number {
    const id = this.#nextId++
    if (this.pending.size === 0) this.#aliveAtMs = pending.askedAtMs
    this.pending.set(id, pending)
    if (pending.kind === 'block') this.inFlight++
    return id
  }

  /** What an answer is for; null when it was cancelled. Undefined when nothing like it was ever asked. */
  answered(id: number, nowMs: number): Pending | null | undefined {
    const pending = this.pending.get(id)
    if (pending === undefined) return id < this.#nextId && this.#strays-- > 0 ? null : undefined
    this.#release(id, pending)
    const latencyMs = nowMs - pending.askedAtMs
    this.#measuredMs = this.#measuredMs === 0 ? latencyMs : Math.min(this.#measuredMs, latencyMs)
    if (pending.kind === 'block' && !pending.block.demand) this.window.answered(latencyMs)
    return pending
  }

  /** No longer interested. */
  cancel(id: number): void {
    const pending = this.pending.get(id)
    if (pending === undefined) return
    this.#release(id, pending)
    this.#strays++
    if (!this.channel.closed) this.channel.send.cancel({ id })
  }

  /** Looks for signs of life. True when that changed whether it is silent. */
  check(nowMs: number): boolean {
    const bytesRead = this.#opts.bytesRead()
    if (bytesRead - this.#bytesRead >= LIFE_BYTES_MIN || this.pending.size === 0) {
      this.#aliveAtMs = nowMs
    }
    this.#bytesRead = bytesRead
    const limitMs = Math.min(SILENT_MS_MAX, Math.max(SILENT_MS_MIN, SILENT_RTTS * this.rttMs))
    const silent = nowMs - this.#aliveAtMs > limitMs
    const changed = silent !== this.silent
    this.silent = silent
    return changed
  }

  /** Requests that it should have answered long ago, although it lives. */
  overdue(nowMs: number): number[] {
    if (this.silent) return []
    const { patienceMs } = this.window
    return [...this.pending].filter(([, p]) => nowMs - p.askedAtMs > patienceMs).map(([id]) => id)
  }

  #release(id: number, pending: Pending): void {
    this.pending.delete(id)
    if (pending.kind === 'block') this.inFlight--
  }
}
