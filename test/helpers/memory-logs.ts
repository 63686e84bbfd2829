/**
 * The port `LogStorePort` over arrays, for tests of what stands on it. As the real one it tells appended from
 * durable, retires own logs, and lets nothing be served that is not durable. Proofs prove nothing here.
 */
import { EventEmitter } from 'node:events'
import { createHash, randomBytes } from 'node:crypto'
import { HyperparcelError, assert } from '../../lib/base/errors.ts'
import type { BlockRun, Log, LogProof, LogStorePort } from '../../lib/store/ports.ts'

class MemoryLog extends EventEmitter implements Log {
  readonly key: Buffer
  readonly blocks = new Map<number, Buffer>()
  writable: boolean
  length = 0
  durableLength = 0
  received = new Set<number>()

  constructor(key: Buffer, writable: boolean) {
    super()
    this.setMaxListeners(0)
    this.key = key
    this.writable = writable
  }

  async has(index: number): Promise<boolean> {
    return this.blocks.has(index)
  }

  async hasEach(indexes: number[]): Promise<boolean[]> {
    return indexes.map((index) => this.blocks.has(index))
  }

  async firstMissing(start: number, end: number): Promise<number> {
    for (let i = start; i < end; i++) if (!this.blocks.has(i)) return i
    return -1
  }

  async durableTest(): Promise<(index: number) => boolean> {
    return (index) =>
      index < this.durableLength && this.blocks.has(index) && !this.received.has(index)
  }

  async durableRuns(start: number, end: number, max: number): Promise<BlockRun[]> {
    const runs: BlockRun[] = []
    for (let i = start; i < Math.min(end, this.durableLength); i++) {
      if (!this.blocks.has(i) || this.received.has(i)) continue
      const last = runs[runs.length - 1]
      if (last && last.start + last.count === i) last.count++
      else if (runs.length === max) break
      else runs.push({ start: i, count: 1 })
    }
    return runs
  }

  async read(index: number): Promise<Buffer | null> {
    return this.blocks.get(index) ?? null
  }

  async append(blocks: Buffer[]): Promise<number> {
    assert(blocks.length > 0, 'an append of nothing')
    if (!this.writable) throw new HyperparcelError('LOG_RETIRED', 'This log is retired')
    const first = this.length
    for (const block of blocks) this.blocks.set(this.length++, block)
    return first
  }

  async missingNodes(): Promise<number> {
    return 0
  }

  async proveBlock(index: number): Promise<LogProof | null> {
    const value = this.blocks.get(index)
    if (value === undefined || index >= this.durableLength) return null
    return proof({ block: { index, value, nodes: [] } })
  }

  async proveLength(from: number, to: number): Promise<LogProof | null> {
    if (from >= to || to > this.durableLength) return null
    const rest = { nodes: [], additionalNodes: [], signature: Buffer.alloc(64) }
    return proof({ upgrade: { start: from, length: to - from, ...rest } })
  }

  async apply({ upgrade, block }: LogProof): Promise<boolean> {
    const length = upgrade === null ? this.length : upgrade.start + upgrade.length
    if (block !== null && block.index >= length) return false
    if (length > this.length) {
      this.length = length
      if (this.writable) this.retire()
      this.emit('length', length)
    }
    if (block !== null && !this.blocks.has(block.index)) {
      this.blocks.set(block.index, block.value)
      this.received.add(block.index)
      this.emit('stored', block.index)
    }
    return true
  }

  async treeHash(length: number): Promise<Buffer> {
    return createHash('sha256').update(this.key).update(String(length)).digest()
  }

  retire(): void {
    this.writable = false
    this.emit('retired')
  }

  settle(): void {
    const received = [...this.received]
    this.received.clear()
    if (this.length === this.durableLength && received.length === 0) return
    this.durableLength = this.length
    this.emit('durable', this.length, received)
  }
}

export class MemoryLogStore implements LogStorePort {
  readonly logs = new Map<string, MemoryLog>()
  readonly #purposes = new Map<string, string>()
  flushes = 0
  /** The next flush fails with it. */
  failure: Error | null = null

  async current(purpose: string): Promise<Log> {
    const known = this.logs.get(this.#purposes.get(purpose) ?? '')
    if (known?.writable) return known
    const log = new MemoryLog(randomBytes(32), true)
    this.logs.set(log.key.toString('hex'), log)
    this.#purposes.set(purpose, log.key.toString('hex'))
    return log
  }

  async open(key: Buffer): Promise<Log> {
    return this.#open(key)
  }

  async peek(key: Buffer): Promise<Log | null> {
    return this.logs.get(key.toString('hex')) ?? null
  }

  async list(): Promise<Buffer[]> {
    return [...this.logs.values()].filter((log) => log.length > 0).map((log) => log.key)
  }

  async retire(key: Buffer): Promise<void> {
    this.logs.get(key.toString('hex'))?.retire()
  }

  async flush(): Promise<void> {
    this.flushes++
    await Promise.resolve()
    if (this.failure !== null) {
      const err = this.failure
      this.failure = null
      throw err
    }
    for (const log of this.logs.values()) log.settle()
  }

  /** What a power cut leaves: only what is durable, and no own log goes on. */
  crash(): MemoryLogStore {
    const after = this.copy()
    for (const log of after.logs.values()) log.writable = false
    return after
  }

  /** What a copy of the directory holds: only what is durable. */
  copy(): MemoryLogStore {
    const after = new MemoryLogStore()
    for (const [id, log] of this.logs) {
      const kept = new MemoryLog(log.key, log.writable)
      for (const [index, block] of log.blocks) {
        if (index < log.durableLength && !log.received.has(index)) kept.blocks.set(index, block)
      }
      kept.length = kept.durableLength = log.durableLength
      after.logs.set(id, kept)
    }
    for (const [purpose, id] of this.#purposes) after.#purposes.set(purpose, id)
    return after
  }

  /** Fetches what another store has of a log, durable blocks only, in that order of indexes. */
  async pull(from: MemoryLogStore, key: Buffer, order: 'up' | 'down' = 'up'): Promise<void> {
    const source = await from.peek(key)
    if (source === null || source.durableLength === 0) return
    const log = this.#open(key)
    const length = await source.proveLength(0, source.durableLength)
    if (source.durableLength > log.length) await log.apply(length!)
    const indexes = [...Array(source.durableLength).keys()]
    for (const index of order === 'up' ? indexes : indexes.reverse()) {
      const block = await source.proveBlock(index, 0)
      if (block !== null) await log.apply(block)
    }
    await this.flush()
  }

  #open(key: Buffer): MemoryLog {
    const id = key.toString('hex')
    let log = this.logs.get(id)
    if (log === undefined) this.logs.set(id, (log = new MemoryLog(Buffer.from(key), false)))
    return log
  }
}

function proof(parts: Partial<LogProof>): LogProof {
  return { fork: 0, block: null, hash: null, seek: null, upgrade: null, manifest: null, ...parts }
}
