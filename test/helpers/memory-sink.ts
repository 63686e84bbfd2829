/**
 * The store of one log over arrays, as commits see it: the port `CommitSink` for tests of what stands on it. As the
 * real one it refuses appends of an earlier commit and for any place but the end.
 */
import { randomBytes } from 'node:crypto'
import { HyperparcelError } from '../../lib/base/errors.ts'
import { CHUNK_ID_BYTES } from '../../lib/base/limits.ts'
import type { LogKeys } from '../../lib/chunk/segment.ts'
import type { BlockReader } from '../../lib/parcel/block-reader.ts'
import type { BlockBatch, CommitSink, LogHead, Places } from '../../lib/parcel/commit-sink.ts'
import type { LogTable } from '../../lib/parcel/log-table.ts'

const SEGMENT_ID_BYTES = 512

export class MemorySink {
  log = randomBytes(32)
  readonly keys: LogKeys = { id: randomBytes(32), data: randomBytes(32), meta: randomBytes(32) }
  /** By log (hex): blocks, and the chunk ids of segments. */
  readonly #logs = new Map<string, { blocks: Buffer[]; ids: (Buffer | null)[] }>()
  readonly #handles: Buffer[] = []
  readonly #index = new Map<string, [handle: number, block: number, slot: number]>()
  /** The one whose appends count. */
  #current: MemoryCommit | null = null
  /** Called before each append; may throw. */
  onappend: (batch: BlockBatch) => void | Promise<void> = () => {}

  get blocks(): Buffer[] {
    return this.of(this.log).blocks
  }

  get ids(): (Buffer | null)[] {
    return this.of(this.log).ids
  }

  /** Starts the next commit. */
  begin(): CommitSink {
    this.#current = new MemoryCommit(this, this.blocks.length)
    return this.#current
  }

  /** The log is retired: commits go to a new one. */
  retire(): void {
    this.#current = null
    this.log = randomBytes(32)
  }

  of(log: Buffer): { blocks: Buffer[]; ids: (Buffer | null)[] } {
    const name = log.toString('hex')
    let stored = this.#logs.get(name)
    if (stored === undefined) {
      stored = { blocks: [], ids: [] }
      this.#logs.set(name, stored)
      this.#handles.push(Buffer.from(log))
    }
    return stored
  }

  handleOf(log: Buffer): number {
    this.of(log)
    return this.#handles.findIndex((known) => known.equals(log))
  }

  logOf(handle: number): Buffer {
    return this.#handles[handle]
  }

  /** Where a chunk of that id (hex) is stored. */
  find(id: string): [number, number, number] | undefined {
    const found = this.#index.get(id)
    if (found === undefined) return undefined
    const isHere = this.of(this.logOf(found[0])).blocks[found[1]] !== undefined
    if (!isHere) this.#index.delete(id)
    return isHere ? found : undefined
  }

  async append(commit: MemoryCommit | null, batch: BlockBatch): Promise<void> {
    await this.onappend(batch)
    const { first, data, lengths, chunks, ids } = batch
    const { blocks, ids: known } = this.of(this.log)
    if (commit !== this.#current || first !== blocks.length) throw stale()
    let at = 0
    let idsAt = 0
    lengths.forEach((length, i) => {
      const block = blocks.push(Buffer.from(data.subarray(at, (at += length)))) - 1
      const segment = Buffer.from(ids.subarray(idsAt, (idsAt += chunks[i] * CHUNK_ID_BYTES)))
      known.push(chunks[i] === 0 ? null : segment)
      for (let slot = 0; slot < chunks[i]; slot++) {
        const name = segment.toString('hex', slot * CHUNK_ID_BYTES, (slot + 1) * CHUNK_ID_BYTES)
        if (!this.#index.has(name)) this.#index.set(name, [this.handleOf(this.log), block, slot])
      }
    })
  }

  /** Makes the version of a sealed record exist. */
  publish(record: Buffer): void {
    this.blocks.push(record)
    this.ids.push(null)
    this.#current = null
  }

  reader(logs: LogTable): BlockReader {
    return {
      read: (log, blocks) => {
        const { blocks: stored } = this.of(logs.keyOf(log))
        return Promise.resolve(blocks.map((block) => Buffer.from(stored[block])))
      }
    }
  }
}

class MemoryCommit implements CommitSink {
  readonly log: Buffer
  readonly firstBlock: number
  readonly keys: LogKeys
  readonly keyEpoch = 1
  readonly compressionLevel = 3
  readonly #store: MemorySink

  constructor(store: MemorySink, firstBlock: number) {
    this.#store = store
    this.log = store.log
    this.keys = store.keys
    this.firstBlock = firstBlock
  }

  lookup(ids: Buffer): Promise<Places> {
    const places = new Uint32Array((ids.byteLength / CHUNK_ID_BYTES) * 3)
    for (let i = 0; i < places.length / 3; i++) {
      const name = ids.toString('hex', i * CHUNK_ID_BYTES, (i + 1) * CHUNK_ID_BYTES)
      const found = this.#store.find(name)
      if (found !== undefined) places.set([found[0] + 1, found[1], found[2]], i * 3)
    }
    return Promise.resolve(places)
  }

  logOf(handle: number): Buffer {
    return this.#store.logOf(handle)
  }

  idsOf(logs: Buffer[], segments: Uint32Array): Promise<Buffer> {
    const out = Buffer.alloc((segments.length / 2) * SEGMENT_ID_BYTES)
    for (let i = 0; i < segments.length / 2; i++) {
      const ids = this.#store.of(logs[segments[i * 2]]).ids[segments[i * 2 + 1]]
      if (!ids) return Promise.reject(new HyperparcelError('DATA_UNREACHABLE', 'No such segment'))
      ids.copy(out, i * SEGMENT_ID_BYTES)
    }
    return Promise.resolve(out)
  }

  append(batch: BlockBatch): Promise<void> {
    return this.#store.append(this, batch)
  }

  heads(logs: readonly Buffer[]): Promise<LogHead[]> {
    return Promise.resolve(
      logs.map((log) => {
        const { length } = this.#store.of(log).blocks
        return { length, treeHash: Buffer.alloc(32, length + 1) }
      })
    )
  }
}

function stale(): HyperparcelError {
  return new HyperparcelError('COMMIT_STALE', 'Another commit began, or the log ends elsewhere')
}
