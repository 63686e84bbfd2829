/**
 * Reads slots in a row with one pread and opens them straight into the caller's buffer. Memory is bounded by
 * two small pools of buffers; a read that finds its pool empty waits its turn.
 */
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_BYTES } from '../base/limits.ts'
import { SLOT_BYTES, SLOT_KIND, slotPosition } from '../format/overlay.ts'
import type { Operation } from './operation.ts'
import type { OverlayFile } from './overlay-file.ts'
import type { ReadEpochs } from './read-epochs.ts'
import { SlotBuffer } from './slot-buffer.ts'

const SMALL = { slots: 4, buffers: 64 }
const LARGE = { slots: 128, buffers: 8 }

class Pool {
  readonly slots: number
  readonly #idle: SlotBuffer[] = []
  readonly #queue: ((buffer: SlotBuffer) => void)[] = []
  #more: number

  constructor(size: { slots: number; buffers: number }) {
    this.slots = size.slots
    this.#more = size.buffers
  }

  use(task: (buffer: SlotBuffer) => void): void {
    const idle = this.#idle.pop()
    if (idle !== undefined) return task(idle)
    if (this.#more > 0) {
      this.#more--
      return task(new SlotBuffer(this.slots))
    }
    this.#queue.push(task)
  }

  give(buffer: SlotBuffer): void {
    const next = this.#queue.shift()
    if (next === undefined) this.#idle.push(buffer)
    else next(buffer)
  }
}

export class SlotReader {
  readonly #file: OverlayFile
  readonly #epochs: ReadEpochs
  readonly #volume: number
  readonly #name: string
  readonly #key: Buffer
  readonly #small = new Pool(SMALL)
  readonly #large = new Pool(LARGE)

  constructor(file: OverlayFile, epochs: ReadEpochs, volume: number, name: string, key: Buffer) {
    this.#file = file
    this.#epochs = epochs
    this.#volume = volume
    this.#name = name
    this.#key = key
  }

  /**
   * Slots slot…slot+count−1 hold chunks chunk…chunk+count−1: fills target[at…]. Parts of the operation.
   * @param sequences low 32 bits of the sequence of each slot, so that an older content of a slot is noticed
   */
  read(
    slot: number,
    count: number,
    chunk: number,
    target: Buffer,
    at: number,
    sequences: Uint32Array,
    operation: Operation
  ): void {
    const pool = count <= SMALL.slots ? this.#small : this.#large
    for (let i = 0; i < count; i += pool.slots) {
      const n = Math.min(pool.slots, count - i)
      // What is expected is noted now: the table may grow, and slots may move on, while the read is under way.
      const expected = sequences.slice(slot + i, slot + i + n)
      const epoch = this.#epochs.begin()
      operation.add()
      pool.use((buffer) => {
        this.#file.pread(
          buffer.bytes,
          0,
          n * SLOT_BYTES,
          slotPosition(slot + i),
          (error, bytes) => {
            let failure: unknown = error
            try {
              if (error === null) {
                this.#open(buffer, bytes, n, chunk + i, expected, target, at + i * CHUNK_BYTES)
              }
            } catch (err) {
              failure = err
            }
            pool.give(buffer)
            this.#epochs.end(epoch)
            if (failure === null) operation.done()
            else operation.fail(failure)
          }
        )
      })
    }
  }

  #open(
    buffer: SlotBuffer,
    bytes: number,
    count: number,
    chunk: number,
    sequences: Uint32Array,
    target: Buffer,
    at: number
  ): void {
    for (let i = 0; i < count; i++) {
      if ((i + 1) * SLOT_BYTES > bytes) throw this.#corrupt(chunk + i)
      const from = at + i * CHUNK_BYTES
      try {
        buffer.open(i, target.subarray(from, from + CHUNK_BYTES), this.#key)
      } catch (err) {
        throw this.#corrupt(chunk + i, err)
      }
      const header = buffer.header(i)
      if (
        header.kind !== SLOT_KIND.DATA ||
        header.volume !== this.#volume ||
        header.chunk !== chunk + i ||
        header.sequence >>> 0 !== sequences[i]
      ) {
        throw this.#corrupt(chunk + i)
      }
    }
  }

  #corrupt(chunk: number, cause?: unknown): HyperparcelError {
    return new HyperparcelError(
      'DATA_CORRUPT',
      `Changed data of ${this.#name} did not verify when it was read back`,
      {
        hint: 'The disk returned something else than was written: check it.',
        cause,
        context: { volume: this.#name, chunk }
      }
    )
  }
}
