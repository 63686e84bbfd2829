/**
 * One log on a Hypercore.
 *
 * Invariants
 * - What is served or announced lies below `durableLength` and was flushed: `mark()` before a flush says what
 *   the flush will cover, `settle()` after it moves `durableLength`.
 * - The signature of the durable length is kept, because Hypercore can only prove its current length.
 * - Fork 0 only; an upgrade starts exactly at the length known here. Hypercore itself would let a shorter
 *   signed length overwrite a longer one.
 * - An own log that grows by somebody else's proof is retired before anything else can be appended.
 * - The Hypercore session is opened on demand and may be closed by the store while nothing uses it.
 */
import { EventEmitter } from 'node:events'
import Hypercore from 'hypercore'
import { assert, HyperparcelError } from '../base/errors.ts'
import { BLOCK_BYTES_MAX } from '../base/limits.ts'
import type { BlockRun, Log, LogProof } from './ports.ts'
import type { SignedHead } from '../format/signed-head.ts'
import { checkProof } from './check-proof.ts'
import { keepTree } from './keep-tree.ts'
import { isStorageError, isWriteError, storeError } from './store-errors.ts'
import { signedHead, verifyHead } from './signed-head.ts'
import { subtractRuns } from './runs.ts'

/** What a log needs from the store around it. */
export interface LogHost {
  /** A session of the log's Hypercore, not yet ready. */
  session(log: StoredLog): Hypercore
  /** Rejects with `DISK_FULL` where that many bytes more do not fit. */
  room(bytes: number): Promise<void>
  /** Writing failed: the store takes no more until it is opened anew. */
  failed(err: unknown): void
  /** The log is used now. */
  touch(log: StoredLog): void
  /** Something was written that no flush covers yet. */
  dirty(log: StoredLog, receivedBytes: number): void
  /** The log grew by a peer's proof; an own one must not be appended to again. */
  outgrown(log: StoredLog): Promise<void>
}

/** What one flush covers of a log. */
export interface LogMark {
  length: number
  signature: Buffer | null
  received: number[]
}

export class StoredLog extends EventEmitter implements Log {
  readonly key: Buffer
  readonly #host: LogHost
  #core: Hypercore | null = null
  #opening: Promise<Hypercore> | null = null
  #known = false
  #users = 0
  #writable = false
  #length = 0
  #durableLength = 0
  #durableSignature: Buffer | null = null
  /** Arrived from elsewhere, not yet flushed. */
  #received = new Set<number>()
  /** One upgrade at a time; appends wait behind it. */
  #upgrade: Promise<unknown> | null = null
  #lastAppend: Promise<unknown> = Promise.resolve()
  #frozen = false

  constructor(host: LogHost, key: Buffer) {
    super()
    this.setMaxListeners(0)
    this.#host = host
    this.key = key
  }

  get writable(): boolean {
    return this.#writable
  }

  get length(): number {
    return this.#length
  }

  get durableLength(): number {
    return this.#durableLength
  }

  /** True while nothing needs the Hypercore session. */
  get idle(): boolean {
    return this.#users === 0 && this.#core !== null
  }

  /** Only the store says which logs may be appended to. */
  setWritable(writable: boolean): void {
    const retired = this.#writable && !writable
    this.#writable = writable
    if (retired) this.emit('retired')
  }

  /** Reads length and state from the disk; called once before the log is handed out. */
  async load(): Promise<void> {
    await this.#use(() => {})
  }

  /** The store closes: no more appends; resolves when none runs. */
  async freeze(): Promise<void> {
    this.#frozen = true
    await this.#lastAppend
  }

  has(index: number): Promise<boolean> {
    return this.#use((core) => core.has(index))
  }

  hasEach(indexes: number[]): Promise<boolean[]> {
    return this.#use((core) => indexes.map((index) => core.core.bitfield.get(index)))
  }

  durableTest(): Promise<(index: number) => boolean> {
    return this.#use(({ core }) => {
      return (index) =>
        index < this.#durableLength && core.bitfield.get(index) && !this.#received.has(index)
    })
  }

  firstMissing(start: number, end: number): Promise<number> {
    return this.#use((core) => {
      const index = core.core.bitfield.firstUnset(start)
      return index === -1 || index >= end ? -1 : index
    })
  }

  durableRuns(start: number, end: number, max: number): Promise<BlockRun[]> {
    return this.#use((core) => {
      const { bitfield } = core.core
      const limit = Math.min(end, this.#durableLength)
      const runs: BlockRun[] = []
      let at = start
      while (at < limit && runs.length < max) {
        const from = bitfield.firstSet(at)
        if (from === -1 || from >= limit) break
        const unset = bitfield.firstUnset(from)
        const to = unset === -1 || unset > limit ? limit : unset
        runs.push({ start: from, count: to - from })
        at = to
      }
      return this.#received.size === 0 ? runs : subtractRuns(runs, this.#received, max)
    })
  }

  async read(index: number): Promise<Buffer | null> {
    try {
      return await this.#use((core) => core.get(index, { wait: false }))
    } catch (err) {
      throw storeError(err)
    }
  }

  async append(blocks: Buffer[]): Promise<number> {
    assert(blocks.length > 0, 'an append of nothing')
    let bytes = 0
    for (const block of blocks) {
      assert(block.byteLength <= BLOCK_BYTES_MAX, `a block of ${block.byteLength} bytes`)
      bytes += block.byteLength
    }
    if (this.#frozen) throw new HyperparcelError('STORE_CLOSED', 'The store is closing')
    // A close waits for what was begun before it.
    const before = this.#lastAppend
    const appended = this.#appendInTurn(blocks, bytes)
    this.#lastAppend = appended.then(
      () => before,
      () => before
    )
    return appended
  }

  async #appendInTurn(blocks: Buffer[], bytes: number): Promise<number> {
    await this.#host.room(bytes)
    while (this.#upgrade !== null) await this.#upgrade
    if (!this.#writable) {
      throw new HyperparcelError('LOG_RETIRED', 'This log may not be appended to any more', {
        hint: 'Ask the store for the current log of its purpose.'
      })
    }
    return this.#append(blocks)
  }

  missingNodes(index: number): Promise<number> {
    return this.#use((core) => core.missingNodes(index))
  }

  async proveBlock(index: number, nodes: number): Promise<LogProof | null> {
    if (index >= this.#durableLength || nodes > 64) return null
    return this.#use(async (core) => {
      if (!(await core.has(index))) return null
      try {
        const proof = await core.proof({ block: { index, nodes } })
        return proof.block?.value ? ({ ...proof, manifest: null } as LogProof) : null
      } catch (err) {
        if (isStorageError(err)) throw storeError(err)
        return null
      }
    })
  }

  async proveLength(from: number, to: number): Promise<LogProof | null> {
    if (from >= to || to > this.#durableLength) return null
    return this.#use(async (core) => {
      const signature = to === core.length ? null : this.#signatureAt(to)
      if (to !== core.length && signature === null) return null
      try {
        const proof = await core.proof({ upgrade: { start: from, length: to - from } })
        if (signature !== null) {
          proof.upgrade!.signature = signature
          proof.upgrade!.additionalNodes = []
        }
        const manifest = from === 0 ? core.getManifest({ raw: true }) : null
        return { ...proof, manifest } as LogProof
      } catch (err) {
        if (isStorageError(err)) throw storeError(err)
        return null
      }
    })
  }

  async apply(proof: LogProof): Promise<boolean> {
    if (proof.upgrade === null) return this.#apply(proof)
    while (this.#upgrade !== null) await this.#upgrade
    const upgrade = this.#apply(proof)
    this.#upgrade = upgrade.catch(() => {})
    try {
      return await upgrade
    } finally {
      this.#upgrade = null
    }
  }

  async treeHash(length: number): Promise<Buffer> {
    return this.#use(async (core) => {
      try {
        return await Hypercore.treeHashFromStorage(core, length)
      } catch (err) {
        if (isStorageError(err)) throw storeError(err)
        throw new HyperparcelError('DATA_UNREACHABLE', `The tree at ${length} is not known here`, {
          cause: err
        })
      }
    })
  }

  /**
   * What was signed of it at the durable length, and what its first `at` blocks were, or all of them where it is
   * shorter. Null where nothing is known of it.
   */
  async signedHead(at: number): Promise<SignedHead | null> {
    const length = this.#durableLength
    if (length === 0 || at === 0) return null
    return this.#use((core) =>
      signedHead(core, length, Math.min(at, length), this.#durableSignature)
    )
  }

  /** Hash of the tree of the first `at` blocks that a head shows; null where it is not what the author signed. */
  verifyHead(head: SignedHead): Promise<Buffer | null> {
    return this.#use((core) => verifyHead(core, head))
  }

  /** Of all its blocks together, stored here or not. */
  totalBytes(): Promise<number> {
    return this.#use((core) => core.byteLength)
  }

  /** Bytes of each of these blocks, 0 for one of which nothing is known here. Reads no block. */
  blockBytes(indexes: number[]): Promise<number[]> {
    return this.#use(async (core) => {
      const batch = core.core.state.storage.read()
      const nodes = indexes.map((index) => batch.getTreeNode(2 * index))
      batch.tryFlush()
      return (await Promise.all(nodes)).map((node) => node?.size ?? 0)
    })
  }

  /** Forgets the data of blocks, so that good copies can be fetched again. The tree over them stays. */
  async clear(start: number, end: number): Promise<void> {
    await this.#use((core) => core.clear(start, end))
  }

  /** What a flush that starts now will cover. */
  mark(): Promise<LogMark> {
    return this.#use(async (core) => {
      const { length } = core
      const received = [...this.#received]
      if (length === this.#durableLength) return { length, signature: null, received }
      const proof = await core.proof({ upgrade: { start: 0, length } })
      return { length, signature: proof.upgrade!.signature, received }
    })
  }

  /** The flush is done. */
  settle(mark: LogMark): void {
    for (const index of mark.received) this.#received.delete(index)
    const grown = mark.length > this.#durableLength
    if (grown) {
      this.#durableLength = mark.length
      this.#durableSignature = mark.signature
    }
    if (grown || mark.received.length > 0) {
      this.emit('durable', this.#durableLength, mark.received)
    }
  }

  /** Closes the Hypercore session; the next use opens it again. */
  async suspend(): Promise<void> {
    const core = this.#core
    this.#core = null
    if (core !== null) await core.close()
  }

  #signatureAt(length: number): Buffer | null {
    return length === this.#durableLength ? this.#durableSignature : null
  }

  async #append(blocks: Buffer[]): Promise<number> {
    try {
      return await this.#use(async (core) => {
        const { length } = await core.append(blocks)
        if (length > this.#length) this.#length = length
        this.#host.dirty(this, 0)
        return length - blocks.length
      })
    } catch (err) {
      if (isWriteError(err)) this.#host.failed(err)
      throw storeError(err)
    }
  }

  async #apply(proof: LogProof): Promise<boolean> {
    if (!checkProof(proof, this.#length)) return false
    await this.#host.room(proof.block?.value.byteLength ?? 0)
    return this.#use(async (core) => {
      const index = proof.block?.index ?? -1
      if (proof.upgrade === null && core.core.bitfield.firstUnset(index) !== index) return true
      try {
        const manifest = proof.manifest && Hypercore.parseManifest(proof.manifest, this.key)
        if (!(await core.applyProof({ ...proof, manifest }))) return false
      } catch (err) {
        if (!isStorageError(err)) return false
        if (isWriteError(err)) this.#host.failed(err)
        throw storeError(err)
      }
      if (proof.block !== null) this.#received.add(index)
      this.#host.dirty(this, proof.block?.value.byteLength ?? 0)
      if (core.length > this.#length) {
        this.#length = core.length
        await this.#host.outgrown(this)
        this.emit('length', this.#length)
      }
      if (proof.block !== null) this.emit('stored', index)
      return true
    })
  }

  async #use<T>(fn: (core: Hypercore) => T | Promise<T>): Promise<T> {
    this.#users++
    try {
      return await fn(this.#core ?? (await this.#open()))
    } finally {
      this.#users--
    }
  }

  #open(): Promise<Hypercore> {
    this.#opening ??= this.#openOnce().finally(() => {
      this.#opening = null
    })
    return this.#opening
  }

  async #openOnce(): Promise<Hypercore> {
    const core = this.#host.session(this)
    try {
      await core.ready()
    } catch (err) {
      throw storeError(err)
    }
    keepTree(core)
    if (!this.#known) {
      // Nothing wrote to it before in this process, so all of it was flushed.
      this.#known = true
      this.#length = core.length
      this.#durableLength = core.length
    }
    this.#core = core
    this.#host.touch(this)
    return core
  }
}
