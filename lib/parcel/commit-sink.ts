/**
 * Where a commit puts its blocks: the store, seen from the process that has the plaintext. One commit at a time
 * per log; nothing else is appended to it meanwhile, so block indexes are known before the append.
 */
import type { LogKeys } from '../chunk/segment.ts'

/** 3 words per id: log handle + 1 (0 = not stored here), block, slot. */
export type Places = Uint32Array

/** Consecutive blocks of the log. */
export interface BlockBatch {
  /** Log index of the first one. */
  first: number
  /** The blocks one after the other, `lengths` bytes each. */
  data: Buffer
  lengths: number[]
  /** Chunks of each block, 0 for one that is no segment. */
  chunks: number[]
  /** Ids of all these chunks, 32 bytes each. */
  ids: Buffer
}

export interface LogHead {
  length: number
  /** Hash of the log's tree at that length. */
  treeHash: Buffer
}

export interface CommitSink {
  /** The log that this commit appends to, and its length when it began. */
  readonly log: Buffer
  readonly firstBlock: number
  readonly keys: LogKeys
  readonly keyEpoch: number
  /** Of zstd, for segments. */
  readonly compressionLevel: number
  /** Where chunks of these ids (32 bytes each) are stored on this device. */
  lookup(ids: Buffer): Promise<Places>
  /** Key of a log by its handle, from a lookup that came before. */
  logOf(handle: number): Buffer
  /**
   * Ids of segments that are stored here: 512 bytes each, the rest of a short segment is zeros. `segments` are
   * pairs: which of the logs, block.
   */
  idsOf(logs: Buffer[], segments: Uint32Array): Promise<Buffer>
  /** Rejects with `COMMIT_STALE` when the log does not end where the batch begins. At most a few MiB. */
  append(batch: BlockBatch): Promise<void>
  /** What is known here of each of these logs. */
  heads(logs: readonly Buffer[]): Promise<LogHead[]>
}
