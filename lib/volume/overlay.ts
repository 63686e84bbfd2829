/**
 * What a running parcel changed in one volume: an encrypted, authenticated log of slots in one file.
 *
 * Invariants:
 * - A slot is never written in place, but for guest RAM (see `#placeAtHome`). It is free again when nothing refers to
 *   it, after a sync covered what replaced it and the next one claimed that (see `live-slots.ts`), and after the reads
 *   that were under way have ended.
 * - The entry of a chunk with the highest sequence above the header's floor is its content, here and in recovery.
 * - At most two generations: `top` takes the writes, `frozen` is immutable until it is released or abandoned.
 *   Every sequence of `frozen` is at most the one at the freeze, every one of `top` is above.
 * - Releasing raises the floor in the header, durably, before the first slot of the frozen generation is free.
 * - After a failed sync nothing is promised any more: all later syncs fail too.
 */
import sodium from 'sodium-universal'
import safetyCatch from 'safety-catch'
import { HyperparcelError, assert } from '../base/errors.ts'
import { faultPoint } from '../base/fault-point.ts'
import { CHUNK_BYTES } from '../base/limits.ts'
import { KEY_BYTES } from '../chunk/aead.ts'
import { OVERLAY_ID_BYTES, SLOT_KIND, type OverlayHeader } from '../format/overlay.ts'
import { isTombstone, slotOf, type ChunkMap } from './chunk-map.ts'
import type { DirtyRun, FrozenGeneration } from './frozen.ts'
import { Generations, type ChunkState } from './generations.ts'
import { LiveSlots, SlotMarker } from './live-slots.ts'
import { LowSpace } from './low-space.ts'
import { Operation } from './operation.ts'
import { openDiskFile, type OverlayFile } from './overlay-file.ts'
import { HeaderWriter, readOverlayHeader } from './overlay-header.ts'
import type {
  OverlayCreateOptions,
  OverlayOpenOptions,
  OverlayRuntimeOptions
} from './overlay-options.ts'
import { nothingRecovered, recoverSlots, type Recovered } from './recovery.ts'
import { SlotPool } from './slot-pool.ts'
import { SlotReader } from './slot-reader.ts'
import { SlotWriter, type SlotBatch, type SlotSink } from './slot-writer.ts'
import { wipeSlots } from './wipe-slots.ts'

export class Overlay implements SlotSink {
  readonly sizeBytes: number
  readonly chunks: number
  /** Chunks that the disk damaged before this was opened: reading them is an error until they are written again. */
  readonly damagedChunks: number

  readonly #file: OverlayFile
  readonly #key: Buffer
  readonly #header: HeaderWriter
  readonly #pool: SlotPool
  readonly #generations: Generations
  readonly #writer: SlotWriter
  readonly #reader: SlotReader
  readonly #lowSpace: LowSpace
  /** Null where nothing need survive a crash. */
  readonly #live: LiveSlots | null
  /** Low 32 bits of the sequence of each slot. */
  #sequences: Uint32Array
  #appliedSequence: number
  /** Slots that the batch under way replaces in place; who wants to read one waits. */
  readonly #overwriting = new Set<number>()
  #removed = false
  #closing: Promise<void> | null = null

  private constructor(
    file: OverlayFile,
    key: Buffer,
    header: OverlayHeader,
    found: Recovered,
    options: OverlayRuntimeOptions
  ) {
    const { name, volume, durable } = header
    this.#file = file
    this.#key = key
    this.sizeBytes = header.sizeBytes
    this.chunks = found.map.chunks
    this.damagedChunks = found.damagedChunks
    this.#live = durable
      ? new LiveSlots(new SlotMarker(key), found.lastSequence, found.marks, found.sum)
      : null
    this.#header = new HeaderWriter(file, key, header, this.#live, () => this.#pool.sync.run())
    const claim = () => this.#header.put()
    this.#pool = new SlotPool(file, name, durable, claim, () => this.#writer.wake())
    this.#generations = new Generations(found.map, found.tombstones, (slot) => {
      this.#live?.remove(slot)
      this.#pool.replaced(slot)
    })
    this.#appliedSequence = found.lastSequence
    this.#writer = new SlotWriter(file, this, volume, key, found.lastSequence + 1)
    this.#reader = new SlotReader(file, this.#pool.epochs, volume, name, key)
    this.#lowSpace = new LowSpace(file, options.lowSpaceBytes, options.onLowSpace)
    this.#sequences = new Uint32Array(Math.max(1024, found.sequences.length))
    for (let slot = 0; slot < found.sequences.length; slot++) {
      if (found.sequences[slot] === 0) continue
      this.#pool.claim(slot)
      this.#sequences[slot] = found.sequences[slot] >>> 0
    }
  }

  /**
   * A new, empty overlay in a file of its own, in the place of whatever has that name. Rejects with `DISK_FULL`
   * when the reserve does not fit.
   */
  static async create(path: string, options: OverlayCreateOptions): Promise<Overlay> {
    const key = Buffer.allocUnsafeSlow(KEY_BYTES)
    const overlayId = Buffer.allocUnsafe(OVERLAY_ID_BYTES)
    sodium.randombytes_buf(key)
    sodium.randombytes_buf(overlayId)
    const durable = options.durable ?? true
    const header = {
      counter: 0,
      durable,
      overlayId,
      sizeBytes: options.sizeBytes,
      floorSequence: 0,
      commitId: '',
      commitSequence: 0,
      volume: options.volume,
      name: options.name,
      baseId: options.baseId,
      sealedKey: options.sealKey(key),
      claim: durable ? new SlotMarker(key).claimNothing() : null
    }
    const nothing = nothingRecovered(options.sizeBytes)
    const file = await (options.openFile ?? openDiskFile)(path, true)
    const overlay = new Overlay(file, key, header, nothing, options)
    try {
      await overlay.#header.write({})
      await file.publish()
      if (options.reserveBytes !== undefined) await overlay.reserve(options.reserveBytes)
    } catch (err) {
      await file.remove().catch(safetyCatch)
      await file.close()
      throw overlay.#explain(err)
    }
    return overlay
  }

  /**
   * An overlay left by a crash or a clean close: everything that was flushed, and of later writes what happened to
   * reach the disk. What was damaged meanwhile is an error when it is read. Rejects with `DATA_CORRUPT` when too little
   * is left to tell what that is, `FORMAT_TOO_NEW`, `FORMAT_TOO_OLD`.
   */
  static async open(path: string, options: OverlayOpenOptions): Promise<Overlay> {
    const file = await (options.openFile ?? openDiskFile)(path, false)
    try {
      const { header, key } = await readOverlayHeader(file, options.unsealKey)
      const { commitId, durable } = header
      const change: Partial<OverlayHeader> = {}
      if (commitId !== '' && options.committed !== undefined) {
        if (await options.committed(commitId)) {
          change.baseId = commitId
          change.floorSequence = Math.max(header.floorSequence, header.commitSequence)
        }
        change.commitId = ''
        change.commitSequence = 0
      }
      const floor = change.floorSequence ?? header.floorSequence
      const found = await recoverSlots(file, header, key, floor)
      const overlay = new Overlay(file, key, header, found, options)
      // What was found may be in the page cache only; what it replaced is about to be used again.
      if (durable) {
        await wipeSlots(file, found.torn)
        await overlay.#pool.sync.run()
      }
      if (durable || change.commitId !== undefined) await overlay.#header.write(change)
      if (options.reserveBytes !== undefined) await overlay.reserve(options.reserveBytes)
      return overlay
    } catch (err) {
      await file.close()
      throw err
    }
  }

  /** What the header says, without looking at the slots: cheap. Rejects as `open`. */
  static async inspect(
    path: string,
    options: Pick<OverlayOpenOptions, 'unsealKey' | 'openFile'>
  ): Promise<
    Pick<OverlayHeader, 'name' | 'volume' | 'sizeBytes' | 'baseId' | 'commitId' | 'durable'>
  > {
    const file = await (options.openFile ?? openDiskFile)(path, false)
    try {
      return (await readOverlayHeader(file, options.unsealKey)).header
    } finally {
      await file.close()
    }
  }

  get name(): string {
    return this.#header.current.name
  }

  /** The version that the overlay lies on. */
  get baseId(): string {
    return this.#header.current.baseId
  }

  get durable(): boolean {
    return this.#header.current.durable
  }

  /** Bytes changed since the last freeze; chunks that became zero are not counted. */
  get dirtyBytes(): number {
    return this.#generations.top.dataChunks * CHUNK_BYTES
  }

  /** Nothing differs from the base: no data, no zeros. */
  get clean(): boolean {
    return this.#generations.top.empty && this.#generations.frozen === null
  }

  /** Bytes of the file in use by slots, replaced ones that wait for a sync included. */
  get storedBytes(): number {
    return this.#pool.usedBytes
  }

  /**
   * How many chunks from `first` on, at most `max`, are alike; `foundState` says what, and `foundSlot` where their
   * slots start when it is data.
   */
  find(first: number, max: number): number {
    return this.#generations.find(first, max)
  }

  get foundState(): ChunkState {
    return this.#generations.foundState
  }

  get foundSlot(): number {
    return this.#generations.foundSlot
  }

  /** Reads what `find` found. */
  readSlots(
    slot: number,
    count: number,
    chunk: number,
    target: Buffer,
    at: number,
    operation: Operation
  ): void {
    if (this.#refused(operation)) return
    if (this.#overwriting.size > 0 && this.#overwrites(slot, count)) {
      this.#readAfterWrites(slot, count, chunk, target, at, operation)
    } else {
      this.#reader.read(slot, count, chunk, target, at, this.#sequences, operation)
    }
  }

  /** Writes whole chunks from source[at…]. Fails with `DISK_FULL`. */
  write(first: number, count: number, source: Buffer, at: number, operation: Operation): void {
    if (this.#refused(operation)) return
    this.#writer.data(first, count, source, at, operation)
  }

  /** The range reads as zeros afterwards. */
  writeZeros(first: number, count: number, operation: Operation): void {
    if (this.#refused(operation)) return
    const most = 0xffff_ffff
    for (let i = 0; i < count; i += most) {
      this.#writer.tombstone(first + i, Math.min(most, count - i), operation)
    }
  }

  /** Ends a part of the operation when every write submitted so far has ended. */
  barrier(operation: Operation): void {
    this.#writer.barrier(operation)
  }

  /** Makes finished writes durable. Nothing to do: no promise. */
  sync(): void | Promise<void> {
    if (this.durable) return this.#pool.sync.runIfNeeded()
  }

  /**
   * Everything written so far becomes an immutable generation; later writes go on top. Synchronous, so that all
   * volumes of a parcel freeze at one moment. One at a time.
   */
  freeze(): FrozenGeneration {
    const generations = this.#generations
    const sequence = this.#appliedSequence
    const frozen = generations.freeze()
    this.#live?.freeze()
    const live = () => assert(generations.frozen === frozen, 'a frozen generation is gone')
    let releasing = false
    return {
      dirtyBytes: frozen.dataChunks * CHUNK_BYTES,
      runs: (): Iterable<DirtyRun> => frozen.runs(),
      read: (first, count, target) => {
        live()
        return this.#readFrozen(frozen, first, count, target)
      },
      markCommit: (commitId) => {
        live()
        return this.#header.write({ commitId, commitSequence: sequence })
      },
      release: async (baseId, swap) => {
        live()
        assert(!releasing, 'a frozen generation is being released already')
        releasing = true
        try {
          // A slot of this generation may be being replaced in place: it must not be given away meanwhile.
          if (this.#overwriting.size > 0) await this.#drain()
          const floorSequence = sequence
          await this.#header.write({ baseId, floorSequence, commitId: '', commitSequence: 0 })
        } finally {
          releasing = false
        }
        faultPoint('raised')
        swap()
        this.#live?.drop()
        this.#pool.retire(generations.drop())
      },
      abandon: () => {
        live()
        assert(!releasing, 'a frozen generation is being released')
        this.#live?.thaw()
        generations.thaw()
        this.#pool.settle()
      }
    }
  }

  /** Makes sure that `bytes` more can be written without running out of space. Rejects with `DISK_FULL`. */
  async reserve(bytes: number): Promise<void> {
    try {
      await this.#pool.reserve(bytes)
    } catch (err) {
      throw this.#explain(err)
    }
  }

  /** Bytes that the file system has left. */
  freeBytes(): Promise<number> {
    return this.#file.freeBytes()
  }

  /** Syncs and closes the file. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Closes and removes the file: a commit consumed it, or the user dropped what is in it. */
  async destroy(): Promise<void> {
    if (!this.#removed) await this.#file.remove()
    this.#removed = true
    await this.close()
  }

  async #close(): Promise<void> {
    try {
      await this.#drain()
      const { sync, epochs } = this.#pool
      if (this.durable && !this.#removed && sync.failure === null) {
        await sync.runIfNeeded()
        if (this.#header.behind) await sync.run()
      }
      await new Promise<void>((resolve) => epochs.retire(resolve))
    } finally {
      this.#header.close()
      await this.#file.close()
      sodium.sodium_memzero(this.#key)
    }
  }

  /** Resolves when every write submitted so far has ended, well or not. */
  async #drain(): Promise<void> {
    const drained = new Operation()
    this.#writer.barrier(drained)
    await Promise.resolve(drained.result()).catch(safetyCatch) // the error is the writer's
  }

  #refused(operation: Operation): boolean {
    if (this.#closing === null) return false
    operation.add()
    operation.fail(new HyperparcelError('CLOSED', `${this.name} is closed`))
    return true
  }

  #readFrozen(
    frozen: ChunkMap,
    first: number,
    count: number,
    target: Buffer
  ): void | Promise<void> {
    const operation = new Operation()
    for (let i = 0; i < count;) {
      const entry = frozen.get(first + i)
      const n = frozen.run(first + i, count - i)
      assert(entry !== 0, 'a frozen generation was asked for what it has not')
      const at = i * CHUNK_BYTES
      if (isTombstone(entry)) target.fill(0, at, at + n * CHUNK_BYTES)
      else this.readSlots(slotOf(entry), n, first + i, target, at, operation)
      i += n
    }
    return operation.result()
  }

  #explain(err: unknown): HyperparcelError {
    const error = HyperparcelError.from(err)
    const full = error.code === 'EDQUOT' || error.code === 'DISK_FULL'
    if (!full || error.context !== undefined) return error
    return new HyperparcelError(
      'DISK_FULL',
      `There is no space left on the disk for the changes of ${this.name}`,
      { hint: 'Free some space and go on: nothing was lost.', cause: err }
    )
  }

  // What the writer asks of us (SlotSink).

  async place(batch: SlotBatch, grow: boolean): Promise<void> {
    batch.fresh = []
    const homeless = this.#pool.hasHomes(this.chunks) ? this.#placeAtHome(batch) : null
    const count = homeless?.length ?? batch.count
    if (count === 0) return
    try {
      const extents = await this.#pool.take(count, grow)
      batch.fresh.push(...extents)
      let i = 0
      for (const extent of extents) {
        for (let slot = extent.first; slot < extent.first + extent.count; slot++, i++) {
          batch.placed[homeless === null ? i : homeless[i]] = slot
        }
      }
    } catch (err) {
      this.unplace(batch, true)
      throw err
    }
  }

  unplace(batch: SlotBatch, wiped: boolean): void {
    if (!wiped && this.#live !== null) this.#live.doubtful = true
    this.#pool.give(batch.fresh)
    batch.fresh = []
    this.#overwriting.clear()
  }

  applied(batch: SlotBatch): void {
    this.#pool.sync.unsynced = true
    for (let i = 0; i < batch.count; i++) {
      const slot = batch.placed[i]
      this.#note(slot, batch.sequence + i)
      // In place: the generation that had the slot has it still, even if it was frozen meanwhile.
      if (this.#overwriting.has(slot)) continue
      this.#live?.add(slot, batch.slots.headerBytes(i))
      if (batch.kinds[i] === SLOT_KIND.DATA) this.#generations.data(batch.chunks[i], slot)
      else this.#generations.tombstone(batch.chunks[i], batch.counts[i], slot)
    }
    this.#overwriting.clear()
    this.#appliedSequence = batch.sequence + batch.count - 1
    if (this.#live !== null) this.#live.sequence = this.#appliedSequence
    this.#pool.settle()
    this.#lowSpace.grown(this.#pool.fileBytes)
  }

  failed(err: unknown): HyperparcelError {
    const error = this.#explain(err)
    if (error.code === 'DISK_FULL') this.#lowSpace.check()
    return error
  }

  between(): Promise<void> {
    return this.#pool.trim()
  }

  /**
   * Guest RAM, whose space is reserved and whose content need not survive a crash: each chunk goes to the slot of its
   * own number, or stays where it is, in place. So neighbours stay neighbours, however often they are written, and a
   * suspend reads them in a row. Returns those that need another slot.
   */
  #placeAtHome(batch: SlotBatch): number[] {
    const homeless: number[] = []
    const { kinds, chunks, count } = batch
    const seen = new Set<number>()
    // A tombstone of the same batch may lie before or behind; a read must not see a slot half written.
    let inPlace = this.#pool.epochs.active === 0
    for (let i = 0; i < count; i++) if (kinds[i] !== SLOT_KIND.DATA) inPlace = false
    for (let i = 0; i < count; i++) {
      const chunk = chunks[i]
      const isData = kinds[i] === SLOT_KIND.DATA
      if (isData && this.#pool.takeAt(chunk)) {
        batch.placed[i] = chunk
        batch.fresh.push({ first: chunk, count: 1 })
      } else {
        const slot = isData && inPlace && !seen.has(chunk) ? this.#generations.slotInTop(chunk) : -1
        if (slot < 0) homeless.push(i)
        else {
          this.#overwriting.add(slot)
          batch.placed[i] = slot
        }
      }
      seen.add(chunk)
    }
    return homeless
  }

  #overwrites(slot: number, count: number): boolean {
    for (let i = 0; i < count; i++) if (this.#overwriting.has(slot + i)) return true
    return false
  }

  #readAfterWrites(
    slot: number,
    count: number,
    chunk: number,
    target: Buffer,
    at: number,
    operation: Operation
  ): void {
    // From now on these slots are neither handed out nor overwritten.
    const { epochs } = this.#pool
    const epoch = epochs.begin()
    operation.add()
    void this.#drain().then(() => {
      this.#reader.read(slot, count, chunk, target, at, this.#sequences, operation)
      epochs.end(epoch)
      operation.done()
    })
  }

  #note(slot: number, sequence: number): void {
    if (slot >= this.#sequences.length) {
      const grown = new Uint32Array(Math.max(slot + 1, this.#sequences.length * 2))
      grown.set(this.#sequences)
      this.#sequences = grown
    }
    this.#sequences[slot] = sequence >>> 0
  }
}
