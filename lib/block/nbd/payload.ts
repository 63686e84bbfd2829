/**
 * The payload of a write that arrives in pieces, put together in one buffer. A device keeps no reference to what
 * it was given, so the buffer serves again unless a device is still at it.
 */
import type { ByteQueue } from './byte-queue.ts'
import type { SlabPool } from './slab-pool.ts'

const SCRATCH_BYTES_MIN = 64 * 1024
/** A larger buffer is not worth keeping for a client that sends one now and then. */
const SCRATCH_BYTES_KEPT = 1024 * 1024

export class Payload {
  readonly #pool: SlabPool
  #scratch: Buffer | null = null
  #target: Buffer | null = null
  #filledBytes = 0

  constructor(pool: SlabPool) {
    this.#pool = pool
  }

  get started(): boolean {
    return this.#target !== null
  }

  /** `length` bytes are to come; what of them is in the queue is taken by `fill`. */
  start(length: number): void {
    if (this.#scratch === null || this.#scratch.byteLength < length) {
      this.#scratch = Buffer.allocUnsafeSlow(Math.max(length, SCRATCH_BYTES_MIN))
    }
    this.#pool.charge(length)
    this.#filledBytes = 0
    this.#target = this.#scratch.subarray(0, length)
  }

  /** The whole payload once it is there, else null. Then `release` it. */
  fill(input: ByteQueue): Buffer | null {
    const target = this.#target!
    const missing = target.byteLength - this.#filledBytes
    this.#filledBytes += input.copyTo(target, this.#filledBytes, missing)
    return this.#filledBytes < target.byteLength ? null : target
  }

  /** The device has the payload; `pending` while it may still read it. Also when it will never be complete. */
  release(pending: boolean): void {
    if (this.#target === null) return
    const length = this.#target.byteLength
    this.#target = null
    if (pending || length > SCRATCH_BYTES_KEPT) this.#scratch = null
    this.#pool.discharge(length)
  }
}
