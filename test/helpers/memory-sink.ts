/** A commit sink over arrays: one log, an index of what was appended. */
import { randomBytes } from 'node:crypto'
import { CHUNK_ID_BYTES } from '../../lib/base/limits.ts'
import type { LogKeys } from '../../lib/chunk/segment.ts'
import type { BlockReader } from '../../lib/parcel/block-reader.ts'
import type { CommitSink, Places } from '../../lib/parcel/commit-sink.ts'
import type { LogTable } from '../../lib/parcel/log-table.ts'

export class MemorySink implements CommitSink {
  readonly log = randomBytes(32)
  readonly keys: LogKeys = { id: randomBytes(32), data: randomBytes(32), meta: randomBytes(32) }
  readonly keyEpoch = 1
  readonly blocks: Buffer[] = []
  readonly ids: (Buffer | null)[] = []
  readonly #index = new Map<string, [number, number]>()
  #first = 0

  get firstBlock(): number {
    return this.#first
  }

  /** Starts the next commit. */
  begin(): this {
    this.#first = this.blocks.length
    return this
  }

  lookup(ids: Buffer): Promise<Places> {
    const places = new Uint32Array((ids.byteLength / CHUNK_ID_BYTES) * 3)
    for (let i = 0; i < places.length / 3; i++) {
      const name = ids.toString('hex', i * CHUNK_ID_BYTES, (i + 1) * CHUNK_ID_BYTES)
      const found = this.#index.get(name)
      if (found !== undefined) places.set([1, ...found], i * 3)
    }
    return Promise.resolve(places)
  }

  logOf(): Buffer {
    return this.log
  }

  idsOf(segments: { log: Buffer; block: number }[]): Promise<Buffer> {
    const out = Buffer.alloc(segments.length * 512)
    segments.forEach((s, i) => this.ids[s.block]!.copy(out, i * 512))
    return Promise.resolve(out)
  }

  append(blocks: Buffer[], ids: (Buffer | null)[]): Promise<void> {
    blocks.forEach((block, i) => {
      const at = this.blocks.push(block) - 1
      const segment = ids[i]
      this.ids.push(segment)
      if (segment === null) return
      for (let slot = 0; slot < segment.byteLength / CHUNK_ID_BYTES; slot++) {
        const name = segment.toString('hex', slot * CHUNK_ID_BYTES, (slot + 1) * CHUNK_ID_BYTES)
        if (!this.#index.has(name)) this.#index.set(name, [at, slot])
      }
    })
    return Promise.resolve()
  }

  treeHash(): Promise<Buffer> {
    return Promise.resolve(Buffer.alloc(32, 7))
  }

  lengthOf(): Promise<number> {
    return Promise.resolve(this.blocks.length)
  }

  reader(_logs: LogTable): BlockReader {
    return {
      read: (_log, blocks) => Promise.resolve(blocks.map((b) => Buffer.from(this.blocks[b])))
    }
  }
}
