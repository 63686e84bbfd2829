/**
 * Stores chunks ahead of the commit that will reference them: it finds them by their ids. Nothing references them
 * until then, so what is never needed is swept by the next prune.
 */
import { CHUNK_BYTES } from '../base/limits.ts'
import type { VersionRecord } from '../format/version.ts'
import type { ChunkWork } from './chunk-work.ts'
import type { CommitSink } from './commit-sink.ts'
import { keepIds } from './kept-ids.ts'
import { RecentIds } from './recent-ids.ts'
import { SegmentPacker } from './segment-packer.ts'

export class Ahead {
  readonly #sink: CommitSink
  readonly #work: ChunkWork
  readonly #dedupKey: Buffer
  readonly #packer: SegmentPacker
  readonly #recent = new RecentIds()
  /** Unsealed bytes of chunks that were new. */
  bytesNew = 0

  constructor(sink: CommitSink, dedupKey: Buffer, work: ChunkWork) {
    this.#sink = sink
    this.#work = work
    this.#dedupKey = dedupKey
    this.#packer = new SegmentPacker(sink, work)
  }

  /** Takes the buffer, alone in its memory block, with `chunks` chunks at its start; gives one of its size back. */
  async add(buffer: Buffer, chunks: number): Promise<Buffer> {
    const job = { kind: 'hash' as const, data: buffer, chunks, dedupKey: this.#dedupKey }
    const hashed = await this.#work.hash(job)
    const { ids, kept } = keepIds(hashed.ids, chunks)
    const found = kept.length === 0 ? null : await this.#sink.lookup(ids)
    for (let k = 0; k < kept.length; k++) {
      if (found![k * 3] !== 0 || this.#recent.find(ids, k)) continue
      this.#recent.add(ids, k, this.#packer.block, this.#packer.slot)
      this.bytesNew += CHUNK_BYTES
      const full = this.#packer.add(hashed.data, kept[k] * CHUNK_BYTES, ids, k)
      if (full !== undefined) await full
    }
    return hashed.data
  }

  /** Sealed. */
  get bytesStored(): number {
    return this.#packer.bytesStored
  }

  /** All that was added can be found from now on. */
  finish(): Promise<void> {
    return this.#packer.finish()
  }
}

/** Blocks of this log from here on were stored since the version, for the next one. */
export function aheadFrom(version: VersionRecord | undefined, log: Buffer): number {
  return version?.logs.find(({ key }) => key.equals(log))?.length ?? 0
}
