/**
 * What the layers above see of stored logs. A log is one Hypercore; a block index is final once appended.
 * See the header of `log-store.ts` for the rules on durability and on when a new log must be started.
 */
import type { EventEmitter } from 'node:events'

/** A Merkle tree node of a log, as Hypercore has it. */
export interface TreeNode {
  index: number
  size: number
  hash: Buffer
}

/** A block with the nodes that prove it, an upgrade of the signed length, or both. Plain data of Hypercore's `proof()`. */
export interface LogProof {
  fork: number
  block: { index: number; value: Buffer; nodes: TreeNode[] } | null
  hash: null
  seek: null
  upgrade: {
    start: number
    length: number
    nodes: TreeNode[]
    additionalNodes: TreeNode[]
    signature: Buffer
  } | null
  /** Encoded by Hypercore. Needed once, by a peer that has only the key. */
  manifest: Buffer | null
}

/** Consecutive blocks of a log. */
export interface BlockRun {
  start: number
  count: number
}

/**
 * Events: `durable` (length: number, received: number[]) when more of it is safe to announce and serve, `received`
 * being blocks from elsewhere that were flushed; `stored` (index: number) when a block arrived from elsewhere;
 * `length` (length: number) when a longer signed length became known; `retired` when it may not be appended to again.
 */
export interface Log extends EventEmitter {
  /** 32 bytes, the log's name everywhere. */
  readonly key: Buffer
  /** Written by this device and not yet retired. */
  readonly writable: boolean
  /** Signed length known here, blocks. */
  readonly length: number
  /** Blocks that survive a power cut and may be served: 0…durableLength−1. */
  readonly durableLength: number
  /** Is that block's data stored here? */
  has(index: number): Promise<boolean>
  /** The same for many blocks. */
  hasEach(indexes: number[]): Promise<boolean[]>
  /** A test for blocks that are stored here durably. It sees what comes and goes later. */
  durableTest(): Promise<(index: number) => boolean>
  /** The first block in [start, end) that is not stored here, or −1. */
  firstMissing(start: number, end: number): Promise<number>
  /** Runs of blocks in [start, end) that are stored here durably, in order, at most `max` of them. */
  durableRuns(start: number, end: number, max: number): Promise<BlockRun[]>
  /** A block stored here, else null. Never waits for the network. `DATA_CORRUPT` where the disk gave back something else. */
  read(index: number): Promise<Buffer | null>
  /** Appends to an own log; returns the first index. Not durable before `LogStore.flush()`. `LOG_RETIRED` after `retired`. */
  append(blocks: Buffer[]): Promise<number>
  /** How many tree nodes the far side lacks to verify block `index` (Hypercore's `missingNodes`). */
  missingNodes(index: number): Promise<number>
  /** Proof of a block stored here, for a far side that lacks `nodes` nodes; null when it is not here. */
  proveBlock(index: number, nodes: number): Promise<LogProof | null>
  /** Proof of the signed length, from `from` (what the far side has) up to `to` ≤ durableLength. */
  proveLength(from: number, to: number): Promise<LogProof | null>
  /** Verifies and stores. False when the proof does not fit this log: the sender lied or is confused. */
  apply(proof: LogProof): Promise<boolean>
  /** Hash of the tree at a length, 32 bytes. Rejects with `DATA_UNREACHABLE` where its nodes are not all here. */
  treeHash(length: number): Promise<Buffer>
}

/**
 * Gets blocks from elsewhere. The daemon's scheduler fills this port; `lib/net` has it.
 */
export interface BlockFetcher {
  /**
   * Resolves when every named block is stored and verified here. Waits without limit for peers, unless the
   * signal aborts it. Blocks already here cost nothing.
   */
  fetch(log: Buffer, indexes: number[], opts: FetchOptions): Promise<void>
}

export type FetchPriority = 'demand' | 'working-set' | 'proactive' | 'hoard'

export interface FetchOptions {
  priority: FetchPriority
  signal?: AbortSignal
}

/**
 * All logs of this device: one Corestore, one process. `lib/store/log-store.ts` implements it.
 */
export interface LogStorePort {
  /**
   * The log that this device writes for a purpose (`registry`, `parcel:<id>`); a new one where there is none,
   * or where the last one was retired (unclean shutdown, copied or rolled-back store, a peer that knows more).
   */
  current(purpose: string): Promise<Log>
  /** Any log by its key, stored here or to be fetched. Cached: the same object for the same key. */
  open(key: Buffer): Promise<Log>
  /** As `open`, but null for a log of which nothing is stored here and that nobody opened; creates nothing. */
  peek(key: Buffer): Promise<Log | null>
  /** Every log that has something stored here. */
  list(): Promise<Buffer[]>
  /** Never append to that own log again: somebody knows more of it than we do. */
  retire(key: Buffer): Promise<void>
  /** Makes all appends and stored blocks durable; concurrent calls share one flush. Then `durable` is emitted. */
  flush(): Promise<void>
}
