/**
 * Seals chunks into slots and writes them in batches: while one batch is on its way to the file, the next one
 * fills. What arrives together leaves in one write.
 *
 * Invariants:
 * - Sequences grow in the order of submission, and batches are applied in that order, one after the other.
 * - A batch is applied (`SlotSink.applied`) after all of it was written, before its requests end.
 * - The memory is two batches; what does not fit waits in the caller's buffers.
 * - A slot of a failed batch is wiped before it is free again, so that recovery never finds a write that was
 *   reported as failed.
 */
import { faultPoint } from '../base/fault-point.ts'
import type { HyperparcelError } from '../base/errors.ts'
import { CHUNK_BYTES } from '../base/limits.ts'
import { SLOT_BYTES, SLOT_KIND, slotPosition } from '../format/overlay.ts'
import { Nonces } from './nonces.ts'
import type { Operation } from './operation.ts'
import type { OverlayFile } from './overlay-file.ts'
import { SlotBuffer } from './slot-buffer.ts'
import type { Extent } from './slot-space.ts'
import { wipeSlots } from './wipe-slots.ts'

/** Half a mebibyte in one write. */
const BATCH_SLOTS = 128
const ZERO_CHUNK = Buffer.alloc(CHUNK_BYTES)

/** Slots of one batch, in the order of their sequences. */
export class SlotBatch {
  readonly slots = new SlotBuffer(BATCH_SLOTS)
  readonly kinds = new Uint8Array(BATCH_SLOTS)
  readonly chunks = new Float64Array(BATCH_SLOTS)
  readonly counts = new Uint32Array(BATCH_SLOTS)
  /** Where each goes. */
  readonly placed = new Uint32Array(BATCH_SLOTS)
  /** Those of these slots that held nothing before. */
  fresh: Extent[] = []
  readonly operations: Operation[] = []
  count = 0
  /** Of the first slot; the others follow. */
  sequence = 0

  get full(): boolean {
    return this.count === BATCH_SLOTS
  }

  reset(): void {
    this.count = 0
    this.operations.length = 0
  }
}

/** Whoever owns the slots: the overlay. */
export interface SlotSink {
  /** Fills `placed` and `fresh`. With `grow` false the file must not grow. Rejects with `DISK_FULL`, nothing taken. */
  place(batch: SlotBatch, grow: boolean): Promise<void>
  /** The batch could not be written. Are its fresh slots wiped, or may some of it come back after a crash? */
  unplace(batch: SlotBatch, wiped: boolean): void
  /** The batch is in the file. */
  applied(batch: SlotBatch): void
  /** The error that the requests of a batch end with. */
  failed(err: unknown): HyperparcelError
  /** Between batches, with nothing being written. */
  between(): void | Promise<void>
}

interface Waiting {
  kind: number
  first: number
  count: number
  source: Buffer
  at: number
  operation: Operation
}

export class SlotWriter {
  readonly #file: OverlayFile
  readonly #sink: SlotSink
  readonly #volume: number
  readonly #key: Buffer
  readonly #nonces = new Nonces()
  readonly #waiting: Waiting[] = []
  #filling = new SlotBatch()
  #spare = new SlotBatch()
  #writing: SlotBatch | null = null
  #scheduled = false
  #nextSequence: number

  constructor(
    file: OverlayFile,
    sink: SlotSink,
    volume: number,
    key: Buffer,
    nextSequence: number
  ) {
    this.#file = file
    this.#sink = sink
    this.#volume = volume
    this.#key = key
    this.#nextSequence = nextSequence
  }

  get idle(): boolean {
    return this.#writing === null && this.#filling.count === 0 && this.#waiting.length === 0
  }

  /** Writes chunks from source[at…]; a part of the operation for each batch that takes some of them. */
  data(first: number, count: number, source: Buffer, at: number, operation: Operation): void {
    this.#submit(SLOT_KIND.DATA, first, count, source, at, operation)
  }

  /** Writes that a range reads as zeros. At most 2^32 − 1 chunks. */
  tombstone(first: number, count: number, operation: Operation): void {
    this.#submit(SLOT_KIND.TOMBSTONE, first, count, ZERO_CHUNK, 0, operation)
  }

  /** Ends a part of the operation when everything submitted so far has ended. */
  barrier(operation: Operation): void {
    if (this.idle) return
    operation.add()
    const last = this.#waiting.at(-1)
    if (last !== undefined) this.#waiting.push({ ...last, count: 0, operation })
    else (this.#filling.count > 0 ? this.#filling : this.#writing!).operations.push(operation)
  }

  /** Gives `between` a chance when nothing else would. */
  wake(): void {
    this.#schedule()
  }

  #submit(
    kind: number,
    first: number,
    count: number,
    source: Buffer,
    at: number,
    operation: Operation
  ): void {
    operation.add()
    let taken = 0
    if (this.#waiting.length === 0) {
      taken = this.#fill(kind, first, count, source, at)
      const whole = kind === SLOT_KIND.DATA ? count : 1
      if (taken > 0) this.#filling.operations.push(operation)
      if (taken === whole) return this.#schedule()
      if (taken > 0) operation.add()
    }
    this.#waiting.push({
      kind,
      first: first + taken,
      count: count - taken,
      source,
      at: at + taken * CHUNK_BYTES,
      operation
    })
    this.#schedule()
  }

  /** Seals what fits into the filling batch; returns how many slots that were. */
  #fill(kind: number, first: number, count: number, source: Buffer, at: number): number {
    const batch = this.#filling
    const isData = kind === SLOT_KIND.DATA
    const slots = Math.min(isData ? count : 1, BATCH_SLOTS - batch.count)
    if (batch.count === 0) batch.sequence = this.#nextSequence
    for (let i = 0; i < slots; i++) {
      const index = batch.count++
      const chunk = first + i
      const covers = isData ? 1 : count
      const from = at + i * CHUNK_BYTES
      batch.kinds[index] = kind
      batch.chunks[index] = chunk
      batch.counts[index] = covers
      batch.slots.seal(
        index,
        kind,
        this.#volume,
        chunk,
        covers,
        this.#nextSequence++,
        source.subarray(from, from + CHUNK_BYTES),
        this.#nonces.bytes,
        this.#nonces.next(),
        this.#key
      )
    }
    return slots
  }

  #refill(): void {
    while (this.#waiting.length > 0 && !this.#filling.full) {
      const next = this.#waiting[0]
      if (next.count > 0) {
        const taken = this.#fill(next.kind, next.first, next.count, next.source, next.at)
        this.#filling.operations.push(next.operation)
        if (next.kind === SLOT_KIND.DATA && taken < next.count) {
          next.operation.add()
          next.first += taken
          next.count -= taken
          next.at += taken * CHUNK_BYTES
          return
        }
      } else {
        this.#filling.operations.push(next.operation)
      }
      this.#waiting.shift()
    }
  }

  #schedule(): void {
    if (this.#scheduled || this.#writing !== null) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      if (this.#writing === null) void this.#run() // never rejects: errors go to the operations
    })
  }

  /** Writes batches until nothing is left. */
  async #run(): Promise<void> {
    do {
      const batch = this.#filling
      this.#writing = batch
      this.#filling = this.#spare
      this.#refill()
      let failure: unknown
      try {
        await this.#sink.between()
        if (batch.count > 0) await this.#write(batch)
      } catch (err) {
        failure = this.#sink.failed(err)
      }
      this.#writing = null
      this.#spare = batch
      const operations = batch.operations.slice()
      if (failure === undefined && batch.count > 0) this.#sink.applied(batch)
      batch.reset()
      for (const operation of operations) {
        if (failure === undefined) operation.done()
        else operation.fail(failure)
      }
    } while (this.#filling.count > 0 || this.#waiting.length > 0)
  }

  async #write(batch: SlotBatch): Promise<void> {
    try {
      await this.#writeTo(batch, true)
    } catch (err) {
      if (!isFull(err)) throw err
      // The disk is full; the file may still have room in itself.
      await this.#writeTo(batch, false)
    }
  }

  async #writeTo(batch: SlotBatch, grow: boolean): Promise<void> {
    await this.#sink.place(batch, grow)
    faultPoint('placed')
    const failure = await this.#pwrite(batch)
    faultPoint('written')
    if (failure === null) return
    this.#sink.unplace(batch, await wipeSlots(this.#file, slotsOf(batch.fresh)))
    throw failure
  }

  /** One write for each row of neighbours. Ends when all have ended. */
  #pwrite(batch: SlotBatch): Promise<Error | null> {
    const { placed, count } = batch
    return new Promise((resolve) => {
      let pending = 1
      let failure: Error | null = null
      const ended = (error: Error | null) => {
        failure ??= error
        if (--pending === 0) resolve(failure)
      }
      for (let from = 0; from < count;) {
        let to = from + 1
        while (to < count && placed[to] === placed[to - 1] + 1) to++
        const at = from * SLOT_BYTES
        const length = (to - from) * SLOT_BYTES
        pending++
        this.#file.pwrite(batch.slots.bytes, at, length, slotPosition(placed[from]), ended)
        from = to
      }
      ended(null)
    })
  }
}

function* slotsOf(extents: Extent[]): Generator<number> {
  for (const { first, count } of extents) {
    for (let slot = first; slot < first + count; slot++) yield slot
  }
}

function isFull(err: unknown): boolean {
  const code = (err as NodeJS.ErrnoException | HyperparcelError).code
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'DISK_FULL'
}
