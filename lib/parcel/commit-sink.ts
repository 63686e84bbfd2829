/**
 * Where a commit puts its blocks: the store, seen from the process that has the plaintext. One commit at a time
 * per log; nothing else is appended to it meanwhile, so block indexes are known before the append.
 */
import type { LogKeys } from '../chunk/segment.ts'

/** 3 words per id: log handle + 1 (0 = not stored here), block, slot. */
export type Places = Uint32Array

export interface CommitSink {
  /** The log that this commit appends to, and its length now. */
  readonly log: Buffer
  readonly firstBlock: number
  readonly keys: LogKeys
  readonly keyEpoch: number
  /** Where chunks of these ids (32 bytes each) are stored on this device. */
  lookup(ids: Buffer): Promise<Places>
  /** Key of a log by its handle, from a lookup that came before. */
  logOf(handle: number): Buffer
  /** Ids of segments by (log, block): 512 bytes each, the rest of a short segment is zeros. */
  idsOf(segments: { log: Buffer; block: number }[]): Promise<Buffer>
  /** Appends blocks; `ids[i]` are the chunk ids of a segment, null for another block. Bounded by the caller. */
  append(blocks: Buffer[], ids: (Buffer | null)[]): Promise<void>
  /** Hash of the log's tree at that length. */
  treeHash(log: Buffer, length: number): Promise<Buffer>
  /** Length of a log known here. */
  lengthOf(log: Buffer): Promise<number>
}
