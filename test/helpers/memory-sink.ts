/** A commit sink over arrays: one log, an index of what was appended. */
import { randomBytes } from 'node:crypto'
import { HyperparcelError } from '../../lib/base/errors.ts'
import { CHUNK_ID_BYTES } from '../../lib/base/limits.ts'
import type { LogKeys } from '../../lib/chunk/segment.ts'
import type { BlockReader } from '../../lib/parcel/block-reader.ts'
import type { BlockBatch, CommitSink, LogHead, Places } from '../../lib/parcel/commit-sink.ts'
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

  idsOf(_logs: Buffer[], segments: Uint32Array): Promise<Buffer> {
    const out = Buffer.alloc((segments.length / 2) * 512)
    for (let i = 0; i < segments.length / 2; i++) {
      this.ids[segments[i * 2 + 1]]!.copy(out, i * 512)
    }
    return Promise.resolve(out)
  }

  append({ first, data, lengths, chunks, ids }: BlockBatch): Promise<void> {
    if (first !== this.blocks.length) {
      return Promise.reject(new HyperparcelError('COMMIT_STALE', 'Not the end of the log'))
    }
    let at = 0
    let idsAt = 0
    lengths.forEach((length, i) => {
      const block = this.blocks.push(Buffer.from(data.subarray(at, (at += length)))) - 1
      const segment = Buffer.from(ids.subarray(idsAt, (idsAt += chunks[i] * CHUNK_ID_BYTES)))
      this.ids.push(chunks[i] === 0 ? null : segment)
      for (let slot = 0; slot < chunks[i]; slot++) {
        const name = segment.toString('hex', slot * CHUNK_ID_BYTES, (slot + 1) * CHUNK_ID_BYTES)
        if (!this.#index.has(name)) this.#index.set(name, [block, slot])
      }
    })
    return Promise.resolve()
  }

  /** Makes the version of a sealed record exist. */
  publish(record: Buffer): void {
    this.blocks.push(record)
    this.ids.push(null)
  }

  heads(logs: readonly Buffer[]): Promise<LogHead[]> {
    const head = { length: this.blocks.length, treeHash: Buffer.alloc(32, 7) }
    return Promise.resolve(logs.map(() => head))
  }

  reader(_logs: LogTable): BlockReader {
    return {
      read: (_log, blocks) => Promise.resolve(blocks.map((b) => Buffer.from(this.blocks[b])))
    }
  }
}
