/** The payload of a write that arrives in pieces, put together in one slab. */
import type { ByteQueue } from './byte-queue.ts'
import type { InputMemory, InputSlab } from './input-memory.ts'
import type { SlabPool } from './slab-pool.ts'

export class Payload {
  readonly #memory: InputMemory
  readonly #pool: SlabPool
  #slab: InputSlab | null = null
  #target: Buffer | null = null
  #filledBytes = 0

  constructor(memory: InputMemory, pool: SlabPool) {
    this.#memory = memory
    this.#pool = pool
  }

  /** Where it lies, while it is being put together. */
  get slab(): InputSlab | null {
    return this.#slab
  }

  /** `length` bytes are to come; what of them is in the queue is taken by `fill`. */
  start(length: number): void {
    this.#slab = this.#memory.take(length)
    this.#pool.charge(length)
    this.#filledBytes = 0
    this.#target = this.#slab.buffer.subarray(0, length)
  }

  /** The whole payload once it is there, else null. Then `release` it. */
  fill(input: ByteQueue): Buffer | null {
    const target = this.#target!
    const missing = target.byteLength - this.#filledBytes
    this.#filledBytes += input.copyTo(target, this.#filledBytes, missing)
    return this.#filledBytes < target.byteLength ? null : target
  }

  /** The device has the payload, and a reference of its own where it needs one; or it will never be complete. */
  release(): void {
    if (this.#slab === null || this.#target === null) return
    this.#slab.refs--
    this.#pool.discharge(this.#target.byteLength)
    this.#slab = this.#target = null
  }
}
