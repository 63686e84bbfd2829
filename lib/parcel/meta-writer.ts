/** Seals blocks that are no segments (device state, maps) and appends them, some MiB at a time. */
import { sealBlock } from '../chunk/sealed-block.ts'
import type { CommitSink } from './commit-sink.ts'

const BATCH_BYTES = 4 * 1024 * 1024
const NO_IDS = Buffer.alloc(0)

export class MetaWriter {
  /** Log index of the next block. */
  next: number
  bytesStored = 0
  readonly #sink: CommitSink
  #blocks: Buffer[] = []
  #bytes = 0

  constructor(sink: CommitSink, first: number) {
    this.#sink = sink
    this.next = first
  }

  /** @param kind one of `KIND` */
  async add(kind: number, payload: Buffer): Promise<void> {
    const { log, keys, keyEpoch } = this.#sink
    const block = sealBlock(kind, payload, log, this.next, keys.meta, keyEpoch)
    this.#blocks.push(block)
    this.#bytes += block.byteLength
    this.next++
    if (this.#bytes >= BATCH_BYTES) await this.flush()
  }

  async flush(): Promise<void> {
    const blocks = this.#blocks
    if (blocks.length === 0) return
    this.#blocks = []
    this.bytesStored += this.#bytes
    this.#bytes = 0
    await this.#sink.append({
      first: this.next - blocks.length,
      data: blocks.length === 1 ? blocks[0] : Buffer.concat(blocks),
      lengths: blocks.map((block) => block.byteLength),
      chunks: blocks.map(() => 0),
      ids: NO_IDS
    })
  }
}
