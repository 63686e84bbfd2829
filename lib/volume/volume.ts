/**
 * One volume of a parcel as a block device: an overlay with the changes over an immutable base.
 *
 *   pread ─▶ overlay: current generation ─▶ frozen generation ─▶ base
 *   pwrite, trim ─▶ overlay: current generation
 *
 * Invariants:
 * - A whole chunk that reads as zeros and shall be zeros is not written.
 * - A chunk that is changed in part is locked while it is read, merged and written; whole writes of it wait, and
 *   it waits for whole writes that were submitted before. So neighbours in a chunk never lose data.
 */
import { HyperparcelError, assert } from '../base/errors.ts'
import { CHUNK_BYTES } from '../base/limits.ts'
import type { BlockDevice, BlockExtent } from '../block/device.ts'
import type { VolumeBase } from './base.ts'
import { ChunkLocks } from './chunk-locks.ts'
import type { FrozenContent } from './frozen.ts'
import { Operation } from './operation.ts'
import { STATE } from './generations.ts'
import type { Overlay } from './overlay.ts'
import { QuietPages } from './quiet-pages.ts'

/** Gaps of chunks that are zero already, between ones that shall become zero, which one tombstone spans. */
const GAP_CHUNKS_MAX = 256
const ZERO_CHUNK = Buffer.alloc(CHUNK_BYTES)

/** What a commit needs of a volume. */
export interface Frozen extends FrozenContent {
  /**
   * The version `baseId` is durable and `base` is its content: from now on the volume reads from that. On an error
   * it is still frozen.
   */
  release(base: VolumeBase, baseId: string): Promise<void>
}

export class Volume implements BlockDevice {
  readonly size: number
  readonly #overlay: Overlay | null
  readonly #locks = new ChunkLocks()
  #base: VolumeBase
  #quiet: QuietPages | null = null

  /** Without an overlay it is read-only. Closes the overlay when it is closed. */
  constructor(base: VolumeBase, overlay: Overlay | null) {
    assert(
      overlay === null || overlay.sizeBytes === base.sizeBytes,
      'overlay and base differ in size'
    )
    this.size = base.sizeBytes
    this.#base = base
    this.#overlay = overlay
  }

  get readOnly(): boolean {
    return this.#overlay === null
  }

  get base(): VolumeBase {
    return this.#base
  }

  get overlay(): Overlay | null {
    return this.#overlay
  }

  /** Bytes changed since the last freeze. */
  get dirtyBytes(): number {
    return this.#overlay?.dirtyBytes ?? 0
  }

  /** Replaces the base by one of equal content or, while nobody reads, of another version. */
  setBase(base: VolumeBase): void {
    assert(base.sizeBytes === this.size, 'a base of another size')
    this.#base = base
  }

  /** Follows from now on what is changed; what is changed already counts as changed now. */
  watch(): QuietPages {
    const { chunks } = this.#writable()
    this.#quiet = new QuietPages(chunks)
    for (const { first, count } of this.changed(0, chunks)) this.#quiet.note(first, count)
    return this.#quiet
  }

  /** Runs of chunks in the range that were changed and are not zeros, ascending. */
  *changed(start: number, max: number): Generator<{ first: number; count: number }> {
    const overlay = this.#writable()
    const end = Math.min(start + max, overlay.chunks)
    for (let first = start; first < end;) {
      const count = overlay.find(first, end - first)
      if (overlay.foundState === STATE.DATA) yield { first, count }
      first += count
    }
  }

  /** See `Overlay.freeze`. */
  freeze(): Frozen {
    const generation = this.#writable().freeze()
    return {
      ...generation,
      release: (base, baseId) => generation.release(baseId, () => this.setBase(base))
    }
  }

  pread(target: Buffer, offset: number): void | Promise<void> {
    const length = target.byteLength
    if (length === 0) return
    const operation = new Operation()
    if (offset % CHUNK_BYTES === 0 && length % CHUNK_BYTES === 0) {
      this.#read(offset / CHUNK_BYTES, length / CHUNK_BYTES, target, operation)
      return operation.result()
    }
    const first = Math.floor(offset / CHUNK_BYTES)
    const count = Math.ceil((offset + length) / CHUNK_BYTES) - first
    const whole = Buffer.allocUnsafe(count * CHUNK_BYTES)
    const from = offset - first * CHUNK_BYTES
    this.#read(first, count, whole, operation)
    const read = operation.result()
    const copy = () => void whole.copy(target, 0, from, from + length)
    return read === undefined ? copy() : read.then(copy)
  }

  pwrite(source: Buffer, offset: number, fua: boolean): void | Promise<void> {
    return this.#change(source, offset, source.byteLength, fua)
  }

  flush(): void | Promise<void> {
    return this.#overlay?.sync()
  }

  trim(offset: number, length: number, fua: boolean): void | Promise<void> {
    return this.#change(null, offset, length, fua)
  }

  /** A log has no place of its own for a chunk, so no space stays reserved for the range. */
  writeZeroes(
    offset: number,
    length: number,
    _mayTrim: boolean,
    fua: boolean
  ): void | Promise<void> {
    return this.#change(null, offset, length, fua)
  }

  blockStatus(offset: number, length: number, max: number): BlockExtent[] {
    const extents: BlockExtent[] = []
    const end = offset + length
    for (let at = offset; at < end;) {
      const first = Math.floor(at / CHUNK_BYTES)
      const { count, zero } = this.#status(first, Math.ceil(end / CHUNK_BYTES) - first)
      const stop = Math.min(end, (first + count) * CHUNK_BYTES)
      const last = extents.at(-1)
      if (last !== undefined && last.hole === zero) last.length += stop - at
      else if (extents.length === max) break
      else extents.push({ length: stop - at, hole: zero })
      at = stop
    }
    return extents
  }

  close(): Promise<void> {
    return this.#overlay?.close() ?? Promise.resolve()
  }

  #writable(): Overlay {
    if (this.#overlay !== null) return this.#overlay
    throw new HyperparcelError('READ_ONLY', 'This volume is read-only')
  }

  /** How many chunks from `first` on are alike, and whether they read as zeros for sure. */
  #status(first: number, max: number): { count: number; zero: boolean } {
    const overlay = this.#overlay
    if (overlay === null) return this.#base.run(first, max)
    const count = overlay.find(first, max)
    if (overlay.foundState === STATE.NONE) return this.#base.run(first, count)
    return { count, zero: overlay.foundState === STATE.ZERO }
  }

  #read(first: number, count: number, target: Buffer, operation: Operation): void {
    const overlay = this.#overlay
    for (let i = 0; i < count;) {
      const n = overlay === null ? count : overlay.find(first + i, count - i)
      const at = i * CHUNK_BYTES
      const state = overlay === null ? STATE.NONE : overlay.foundState
      if (state === STATE.DATA) {
        overlay!.readSlots(overlay!.foundSlot, n, first + i, target, at, operation)
      } else if (state === STATE.ZERO) {
        target.fill(0, at, at + n * CHUNK_BYTES)
      } else {
        const part = n === count ? target : target.subarray(at, at + n * CHUNK_BYTES)
        this.#readBase(first + i, n, part, operation)
      }
      i += n
    }
  }

  #readBase(first: number, count: number, target: Buffer, operation: Operation): void {
    operation.add()
    try {
      const read = this.#base.read(first, count, target)
      if (read === undefined) return operation.done()
      read.then(
        () => operation.done(),
        (err: unknown) => operation.fail(err)
      )
    } catch (err) {
      operation.fail(err)
    }
  }

  /** Writes, or zeroes where there is no source. */
  #change(
    source: Buffer | null,
    offset: number,
    length: number,
    fua: boolean
  ): void | Promise<void> {
    const overlay = this.#writable()
    if (length === 0) return fua ? overlay.sync() : undefined
    const operation = new Operation()
    const end = offset + length
    if (this.#quiet !== null) {
      const start = Math.floor(offset / CHUNK_BYTES)
      this.#quiet.note(start, Math.ceil(end / CHUNK_BYTES) - start)
    }
    const first = Math.ceil(offset / CHUNK_BYTES)
    const stop = Math.floor(end / CHUNK_BYTES)
    if (first > stop) {
      this.#changePart(source, 0, first - 1, offset % CHUNK_BYTES, length, operation)
    } else {
      const head = first * CHUNK_BYTES - offset
      const tail = end - stop * CHUNK_BYTES
      if (head > 0) this.#changePart(source, 0, first - 1, CHUNK_BYTES - head, head, operation)
      if (stop > first) this.#changeWhole(source, head, first, stop - first, operation)
      if (tail > 0) this.#changePart(source, length - tail, stop, 0, tail, operation)
    }
    const changed = operation.result()
    if (!fua) return changed
    return changed === undefined ? overlay.sync() : changed.then(() => overlay.sync())
  }

  #changeWhole(
    source: Buffer | null,
    at: number,
    first: number,
    count: number,
    operation: Operation
  ): void {
    const blocker = this.#locks.size === 0 ? null : this.#locks.blocker(first, count)
    if (blocker !== null) {
      operation.add()
      void blocker.then(() => {
        this.#changeWhole(source, at, first, count, operation)
        operation.done()
      })
      return
    }
    if (source === null) return this.#zero(first, count, operation)
    let from = 0
    let zero = isZero(source, at)
    for (let i = 1; i <= count; i++) {
      const next = i < count && isZero(source, at + i * CHUNK_BYTES)
      if (i < count && next === zero) continue
      if (zero) this.#zero(first + from, i - from, operation)
      else
        this.#writable().write(first + from, i - from, source, at + from * CHUNK_BYTES, operation)
      from = i
      zero = next
    }
  }

  /** Tombstones for what does not read as zeros yet. */
  #zero(first: number, count: number, operation: Operation): void {
    const overlay = this.#writable()
    let from = -1
    let to = -1
    for (let i = 0; i < count;) {
      const run = this.#status(first + i, count - i)
      if (!run.zero) {
        if (from >= 0 && i - to > GAP_CHUNKS_MAX) {
          overlay.writeZeros(first + from, to - from, operation)
          from = -1
        }
        if (from < 0) from = i
        to = i + run.count
      }
      i += run.count
    }
    if (from >= 0) overlay.writeZeros(first + from, to - from, operation)
  }

  /** Changes bytes inside one chunk. */
  #changePart(
    source: Buffer | null,
    at: number,
    chunk: number,
    into: number,
    length: number,
    operation: Operation
  ): void {
    operation.add()
    this.#merge(source, at, chunk, into, length).then(
      () => operation.done(),
      (err: unknown) => operation.fail(err)
    )
  }

  async #merge(
    source: Buffer | null,
    at: number,
    chunk: number,
    into: number,
    length: number
  ): Promise<void> {
    for (;;) {
      const blocker = this.#locks.blocker(chunk, 1)
      if (blocker === null) break
      await blocker
    }
    const unlock = this.#locks.lock(chunk)
    try {
      const before = new Operation()
      this.#writable().barrier(before)
      await before.result()
      if (source === null && this.#status(chunk, 1).zero) return
      const merged = Buffer.allocUnsafe(CHUNK_BYTES)
      const read = new Operation()
      this.#read(chunk, 1, merged, read)
      await read.result()
      if (source === null) merged.fill(0, into, into + length)
      else source.copy(merged, into, at, at + length)
      const write = new Operation()
      if (isZero(merged, 0)) this.#zero(chunk, 1, write)
      else this.#writable().write(chunk, 1, merged, 0, write)
      await write.result()
    } finally {
      unlock()
    }
  }
}

function isZero(source: Buffer, at: number): boolean {
  return (
    source[at] === 0 &&
    source[at + CHUNK_BYTES - 1] === 0 &&
    source.compare(ZERO_CHUNK, 0, CHUNK_BYTES, at, at + CHUNK_BYTES) === 0
  )
}
