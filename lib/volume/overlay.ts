/**
 * What a running parcel changed in one volume: an encrypted, authenticated log of slots in one file.
 *
 * Invariants:
 * - A slot is never written in place. It is free again when nothing refers to it, after the sync that covers
 *   what replaced it, and after the reads that were under way have ended.
 * - The entry of a chunk with the highest sequence above the header's floor is its content, here and in recovery.
 * - At most two generations: `top` takes the writes, `frozen` is immutable until it is released or abandoned.
 *   Every sequence of `frozen` is at most the one at the freeze, every one of `top` is above.
 * - Releasing raises the floor in the header, durably, before the first slot of the frozen generation is free.
 * - After a failed sync nothing is promised any more: all later syncs fail too.
 */
import sodium from 'sodium-universal'
import safetyCatch from 'safety-catch'
import { HyperparcelError, assert } from '../base/errors.ts'
import { CHUNK_BYTES } from '../base/limits.ts'
import { KEY_BYTES } from '../chunk/aead.ts'
import {
  OVERLAY_ID_BYTES,
  SLOT_BYTES,
  SLOT_KIND,
  slotPosition,
  type OverlayHeader
} from '../format/overlay.ts'
import { ChunkMap, dataEntry, isTombstone, slotOf, tombstoneEntry } from './chunk-map.ts'
import type { DirtyRun, FrozenGeneration } from './frozen.ts'
import { Operation } from './operation.ts'
import { openDiskFile, type OverlayFile } from './overlay-file.ts'
import { HeaderWriter, readOverlayHeader } from './overlay-header.ts'
import type {
  OverlayCreateOptions,
  OverlayOpenOptions,
  OverlayRuntimeOptions
} from './overlay-options.ts'
import { ReadEpochs } from './read-epochs.ts'
import { recoverSlots } from './recovery.ts'
import { SharedSync } from './shared-sync.ts'
import { SlotReader } from './slot-reader.ts'
import { SlotSpace, type Extent } from './slot-space.ts'
import { SlotWriter, type SlotBatch, type SlotSink } from './slot-writer.ts'

/** What a range of chunks is in the overlay. */
export const STATE = { NONE: 0, DATA: 1, ZERO: 2 } as const
export type ChunkState = (typeof STATE)[keyof typeof STATE]

/** Slots beyond a reserve, for what is replaced but not free yet. */
const RESERVE_SLACK_SLOTS = 512
/** Replaced slots that wait for a sync before the overlay syncs by itself: 64 MiB. */
const DYING_MAX = 16_384
/** The file is cut when its end has at least that many free slots. */
const TRIM_SLOTS_MIN = 2048
/** The space left is looked at each time the file has grown by this. */
const SPACE_CHECK_BYTES = 16 * 1024 ** 2
const LOW_SPACE_BYTES = 256 * 1024 ** 2

export class Overlay implements SlotSink {
  readonly sizeBytes: number
  readonly chunks: number
  /** Answer of the last `find`: slots in a row start here. */
  foundState: ChunkState = STATE.NONE
  foundSlot = 0

  readonly #file: OverlayFile
  readonly #key: Buffer
  readonly #header: HeaderWriter
  readonly #options: OverlayRuntimeOptions
  readonly #space = new SlotSpace()
  readonly #epochs = new ReadEpochs()
  readonly #writer: SlotWriter
  readonly #reader: SlotReader
  readonly #syncs: SharedSync
  #sequences = new Uint32Array(1024)
  #tombstones = new Map<number, number>()
  #top: ChunkMap
  #frozen: ChunkMap | null = null
  #appliedSequence: number
  /** Replaced slots whose replacement is written but not synced. */
  #dying: number[] = []
  #retiring = 0
  #unsynced = false
  #syncFailure: HyperparcelError | undefined = undefined
  #spaceCheckedAt = 0
  #low = false
  #removed = false
  #closing: Promise<void> | null = null

  private constructor(
    file: OverlayFile,
    key: Buffer,
    header: OverlayHeader,
    lastSequence: number,
    options: OverlayRuntimeOptions
  ) {
    this.#file = file
    this.#key = key
    this.#options = options
    this.sizeBytes = header.sizeBytes
    this.chunks = Math.ceil(header.sizeBytes / CHUNK_BYTES)
    this.#header = new HeaderWriter(file, key, header)
    this.#top = new ChunkMap(this.chunks)
    this.#appliedSequence = lastSequence
    this.#writer = new SlotWriter(file, this, header.volume, key, lastSequence + 1)
    this.#reader = new SlotReader(file, this.#epochs, header.volume, header.name, key)
    this.#syncs = new SharedSync(() => this.#syncNow())
  }

  /** A new, empty overlay in a file of its own, in the place of whatever has that name. Rejects with `DISK_FULL` when the reserve does not fit. */
  static async create(path: string, options: OverlayCreateOptions): Promise<Overlay> {
    const key = Buffer.allocUnsafeSlow(KEY_BYTES)
    const overlayId = Buffer.allocUnsafe(OVERLAY_ID_BYTES)
    sodium.randombytes_buf(key)
    sodium.randombytes_buf(overlayId)
    const file = await (options.openFile ?? openDiskFile)(path, true)
    const overlay = new Overlay(
      file,
      key,
      {
        counter: 0,
        durable: options.durable ?? true,
        overlayId,
        sizeBytes: options.sizeBytes,
        floorSequence: 0,
        commitId: '',
        commitSequence: 0,
        volume: options.volume,
        name: options.name,
        baseId: options.baseId,
        sealedKey: options.sealKey(key)
      },
      0,
      options
    )
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
   * reach the disk. Rejects with `DATA_CORRUPT`, `FORMAT_TOO_NEW`.
   */
  static async open(path: string, options: OverlayOpenOptions): Promise<Overlay> {
    const file = await (options.openFile ?? openDiskFile)(path, false)
    try {
      const { header, key } = await readOverlayHeader(file, options.unsealKey)
      const taken = header.commitId !== '' && (await options.committed?.(header.commitId)) === true
      if (taken) {
        header.baseId = header.commitId
        header.floorSequence = Math.max(header.floorSequence, header.commitSequence)
      }
      const found = await recoverSlots(file, header, key)
      const overlay = new Overlay(file, key, header, found.lastSequence, options)
      overlay.#top = found.map
      overlay.#tombstones = found.tombstones
      for (let slot = 0; slot < found.sequences.length; slot++) {
        if (found.sequences[slot] === 0) continue
        overlay.#space.claim(slot)
        overlay.#note(slot, found.sequences[slot])
      }
      if (header.commitId !== '' && options.committed !== undefined) {
        await overlay.#header.write({ commitId: '', commitSequence: 0 })
      }
      // What was found may be in the page cache only; what it replaced is about to be reused.
      await file.datasync()
      if (options.reserveBytes !== undefined) await overlay.reserve(options.reserveBytes)
      return overlay
    } catch (err) {
      await file.close()
      throw err
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
    return this.#top.dataChunks * CHUNK_BYTES
  }

  /** Nothing differs from the base: no data, no zeros. */
  get clean(): boolean {
    return this.#top.empty && this.#frozen === null
  }

  /** Bytes of the file in use by slots, replaced ones that wait for a sync included. */
  get storedBytes(): number {
    return this.#space.inUse * SLOT_BYTES
  }

  /**
   * How many chunks from `first` on, at most `max`, are alike; `foundState` says what, and `foundSlot` where their
   * slots start when it is data.
   */
  find(first: number, max: number): number {
    let map = this.#top
    let entry = map.get(first)
    let count = map.run(first, max)
    if (entry === 0 && this.#frozen !== null) {
      map = this.#frozen
      entry = map.get(first)
      count = map.run(first, count)
    }
    if (entry === 0) this.foundState = STATE.NONE
    else if (isTombstone(entry)) this.foundState = STATE.ZERO
    else {
      this.foundState = STATE.DATA
      this.foundSlot = slotOf(entry)
    }
    return count
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
    this.#reader.read(slot, count, chunk, target, at, this.#sequences, operation)
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
    if (this.#syncFailure !== undefined) return Promise.reject(this.#syncFailure)
    if (!this.durable) return
    // Without something new, one that runs may still be on its way for what was written before.
    return this.#unsynced ? this.#syncs.run() : (this.#syncs.running ?? undefined)
  }

  /**
   * Everything written so far becomes an immutable generation; later writes go on top. Synchronous, so that all
   * volumes of a parcel freeze at one moment. One at a time.
   */
  freeze(): FrozenGeneration {
    assert(this.#frozen === null, 'an overlay is frozen already')
    const frozen = this.#top
    const sequence = this.#appliedSequence
    this.#frozen = frozen
    this.#top = new ChunkMap(this.chunks)
    const live = () => assert(this.#frozen === frozen, 'a frozen generation is gone')
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
          const floorSequence = sequence
          await this.#header.write({ baseId, floorSequence, commitId: '', commitSequence: 0 })
        } finally {
          releasing = false
        }
        live()
        swap()
        this.#frozen = null
        this.#retire(this.#slotsOf(frozen))
      },
      abandon: () => {
        live()
        assert(!releasing, 'a frozen generation is being released')
        this.#thaw(frozen)
      }
    }
  }

  /** Makes sure that `bytes` more can be written without running out of space. Rejects with `DISK_FULL`. */
  async reserve(bytes: number): Promise<void> {
    const slots = this.#space.inUse + Math.ceil(bytes / CHUNK_BYTES) + RESERVE_SLACK_SLOTS
    if (slots <= this.#space.reserved) return
    try {
      await this.#file.allocate(slotPosition(slots))
    } catch (err) {
      throw this.#explain(err)
    }
    this.#space.reserved = Math.max(slots, this.#space.reserved)
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
    await this.#file.remove()
    this.#removed = true
    await this.close()
  }

  async #close(): Promise<void> {
    try {
      const drained = new Operation()
      this.#writer.barrier(drained)
      await drained.result()
      const sync = this.durable && this.#unsynced && this.#syncFailure === undefined
      if (sync && !this.#removed) await this.#syncs.run()
      await new Promise<void>((resolve) => this.#epochs.retire(resolve))
    } finally {
      await this.#file.close()
      sodium.sodium_memzero(this.#key)
    }
  }

  #refused(operation: Operation): boolean {
    if (this.#closing === null) return false
    operation.add()
    operation.fail(new HyperparcelError('CLOSED', `${this.name} is closed`))
    return true
  }

  // What the writer asks of us (SlotSink).

  async take(count: number, grow: boolean): Promise<Extent[]> {
    const { ready, reserved } = this.#space
    if (!grow || (reserved > 0 && ready < count)) await this.#reclaim(count)
    if (!grow && this.#space.ready < count) {
      throw this.#explain(new HyperparcelError('DISK_FULL', 'No slot is left'))
    }
    return this.#space.take(count, grow)
  }

  give(extents: Extent[]): void {
    for (const { first, count } of extents) {
      for (let slot = first; slot < first + count; slot++) this.#space.free(slot)
    }
  }

  applied(batch: SlotBatch): void {
    this.#unsynced = true
    const top = this.#top
    for (let i = 0; i < batch.count; i++) {
      const slot = batch.placed[i]
      this.#note(slot, batch.sequence + i)
      if (batch.kinds[i] === SLOT_KIND.DATA) {
        const old = top.set(batch.chunks[i], dataEntry(slot))
        if (old !== 0) this.#replaced(old, 1)
      } else {
        this.#tombstones.set(slot, batch.counts[i])
        top.fill(batch.chunks[i], batch.counts[i], tombstoneEntry(slot), (old, chunks) =>
          this.#replaced(old, chunks)
        )
      }
    }
    this.#appliedSequence = batch.sequence + batch.count - 1
    this.#settle()
    this.#watchSpace()
  }

  failed(err: unknown): HyperparcelError {
    const error = this.#explain(err)
    if (error.code === 'DISK_FULL') this.#checkSpace()
    return error
  }

  async between(): Promise<void> {
    if (this.#idleTail() < TRIM_SLOTS_MIN) return
    const before = this.#space.end
    this.#space.trim()
    const end = Math.max(this.#space.end, this.#space.reserved)
    if (end >= before) return
    // Failing to give space back harms nobody.
    await this.#file.truncate(slotPosition(end)).catch(safetyCatch)
  }

  #idleTail(): number {
    const { end, idle, reserved } = this.#space
    if (idle < TRIM_SLOTS_MIN || end <= reserved) return 0
    let at = end
    while (at > reserved && this.#space.isFree(at - 1)) at--
    return end - at
  }

  #note(slot: number, sequence: number): void {
    if (slot >= this.#sequences.length) {
      const grown = new Uint32Array(Math.max(slot + 1, this.#sequences.length * 2))
      grown.set(this.#sequences)
      this.#sequences = grown
    }
    this.#sequences[slot] = sequence >>> 0
  }

  /** Chunks do not depend on an entry any more. */
  #replaced(entry: number, chunks: number): void {
    const slot = slotOf(entry)
    if (isTombstone(entry)) {
      const left = this.#tombstones.get(slot)! - chunks
      if (left > 0) {
        this.#tombstones.set(slot, left)
        return
      }
      this.#tombstones.delete(slot)
    }
    this.#dying.push(slot)
  }

  /** Frees what need not wait for a sync, and syncs when too much does wait. */
  #settle(): void {
    if (this.#dying.length === 0) return
    if (!this.durable) {
      this.#retire(this.#dying)
      this.#dying = []
    } else if (this.#dying.length > DYING_MAX && this.#syncFailure === undefined) {
      this.#syncs.run().catch(safetyCatch) // it stays failed: the next flush says so
    }
  }

  /** Frees slots once nobody reads them any more. */
  #retire(slots: number[]): void {
    if (slots.length === 0) return
    this.#retiring += slots.length
    this.#epochs.retire(() => {
      this.#retiring -= slots.length
      for (const slot of slots) this.#space.free(slot)
      if (this.#idleTail() >= TRIM_SLOTS_MIN) this.#writer.wake()
    })
  }

  /** Tries to have `count` slots without growing: syncs what waits for that, waits for readers. */
  async #reclaim(count: number): Promise<void> {
    if (this.#dying.length > 0 && this.durable && this.#syncFailure === undefined) {
      await this.#syncs.run().catch(safetyCatch) // then there is nothing to reclaim
    }
    while (this.#space.ready < count && this.#retiring > 0) {
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  async #syncNow(): Promise<void> {
    if (this.#syncFailure !== undefined) throw this.#syncFailure
    const dying = this.#dying
    this.#dying = []
    this.#unsynced = false
    try {
      await this.#file.datasync()
    } catch (err) {
      this.#unsynced = true
      this.#syncFailure = new HyperparcelError(
        'SYNC_FAILED',
        `Writing the changes of ${this.name} to the disk failed`,
        { hint: 'Check the disk. What was flushed before is safe.', cause: err }
      )
      throw this.#syncFailure
    }
    this.#retire(dying)
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

  /** Slots of a generation that is not needed any more, each once. */
  #slotsOf(map: ChunkMap): number[] {
    const slots: number[] = []
    for (const { entry, count } of map.entries()) {
      const slot = slotOf(entry)
      if (!isTombstone(entry)) slots.push(slot)
      else {
        const left = this.#tombstones.get(slot)! - count
        if (left > 0) this.#tombstones.set(slot, left)
        else {
          this.#tombstones.delete(slot)
          slots.push(slot)
        }
      }
    }
    return slots
  }

  /** Puts an abandoned generation under the newer one again. */
  #thaw(frozen: ChunkMap): void {
    const top = this.#top
    this.#frozen = null
    this.#top = frozen
    for (const { first, count, entry } of top.entries()) {
      frozen.fill(first, count, entry, (old, chunks) => this.#replaced(old, chunks))
    }
    this.#settle()
  }

  #watchSpace(): void {
    this.#spaceCheckedAt = Math.min(this.#spaceCheckedAt, this.#space.end)
    const grown = (this.#space.end - this.#spaceCheckedAt) * SLOT_BYTES
    if (grown >= SPACE_CHECK_BYTES || this.#low) this.#checkSpace()
  }

  #checkSpace(): void {
    this.#spaceCheckedAt = this.#space.end
    this.#file.freeBytes().then((free) => {
      const low = free < (this.#options.lowSpaceBytes ?? LOW_SPACE_BYTES)
      if (low && !this.#low) this.#options.onLowSpace?.(free)
      this.#low = low
    }, safetyCatch)
  }

  #explain(err: unknown): HyperparcelError {
    const error = HyperparcelError.from(err)
    if (error.code === 'EDQUOT' || (error.code === 'DISK_FULL' && error.context === undefined)) {
      return new HyperparcelError(
        'DISK_FULL',
        `There is no space left on the disk for the changes of ${this.name}`,
        { hint: 'Free some space and go on: nothing was lost.', cause: err }
      )
    }
    return error
  }
}
