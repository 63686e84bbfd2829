/** State of one log of which something is wanted from peers. Plain data of the fetcher. */
import type { FetchPriority, Log } from '../store/ports.ts'
import type { KnownNodes } from './known-nodes.ts'
import type { ReadAhead } from './read-ahead.ts'
import type { Source } from './source.ts'

/** Smaller is more urgent. */
export const RANK: Readonly<Record<FetchPriority, number>> = {
  demand: 0,
  'working-set': 1,
  proactive: 2,
  hoard: 3
}

/** Less urgent than this is in the background: nobody waits for it, and no resume streams it. */
export const FOREGROUND = RANK['working-set']

export interface WantedBlock {
  readonly watch: LogWatch
  /** Key of the log, hex. */
  readonly log: string
  readonly index: number
  rank: number
  /** Who wants it; nobody for read-ahead. */
  readonly jobs: Set<FetchJob>
  /** Who was asked, with the request's id. */
  readonly asked: Map<Source, number>
  /** Has been asked for in vain: before others of its rank. */
  retried: boolean
  place: 'queued' | 'asked' | 'parked' | 'done'
}

export interface FetchJob {
  readonly watch: LogWatch
  readonly indexes: number[]
  readonly rank: number
  /** First index not looked at yet. */
  cursor: number
  /** Blocks of it under way. */
  open: number
  filling: boolean
  /** The next index lies beyond the length known here. */
  needsLength: boolean
  done: boolean
  resolve(): void
  reject(err: unknown): void
}

export interface LogWatch {
  /** Hex of the key. */
  readonly id: string
  readonly key: Buffer
  readonly log: Log
  readonly blocks: Map<number, WantedBlock>
  readonly jobs: Set<FetchJob>
  readonly ahead: ReadAhead
  /** Blocks that no connected source offers. */
  readonly parked: Set<WantedBlock>
  /** Who waits for which length. */
  readonly waiters: Set<{ length: number; resolve(): void; reject(err: unknown): void }>
  readonly nodes: KnownNodes
  /** Kept up to date: its length and all its blocks, with that priority. */
  follow: FetchPriority | null
  catchingUp: boolean
  lengthAskedFrom: Source | null
}
