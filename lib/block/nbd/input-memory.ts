/**
 * Memory that one connection receives into, used again and again: left to the garbage collector, what a client
 * writes makes V8 collect all of its heap every few dozen megabytes.
 *
 * Invariants
 * - A slab is referenced by each piece of it that is still to be parsed, by a payload that is being put together,
 *   and by each request whose device may still read from it. It is filled anew only when nothing refers to it.
 * - The socket reads behind what is referenced, so a slab is mostly full before the next one begins: memory held is
 *   little more than what requests under way hold, and those are counted where they are limited.
 */

export interface InputSlab {
  readonly buffer: Buffer
  /** Bytes received or given away, from the start. */
  used: number
  refs: number
}

const SLAB_BYTES = 256 * 1024
/** Less room is not worth a system call. */
const ROOM_BYTES_MIN = 64 * 1024
/** Larger ones are not worth keeping for a client that sends one now and then. */
const KEPT_SLAB_BYTES_MAX = 512 * 1024
const KEPT_SLABS_MAX = 4

export class InputMemory {
  readonly #kept: InputSlab[] = []
  #current: InputSlab

  constructor() {
    this.#current = this.#allocate(SLAB_BYTES)
  }

  /** Where the socket reads to next. */
  room(): Buffer {
    const slab = this.#current
    if (slab.refs === 0) slab.used = 0
    else if (slab.buffer.byteLength - slab.used < ROOM_BYTES_MIN) {
      this.#current = this.#find(SLAB_BYTES)
      this.#current.used = 0
    }
    return this.#current.buffer.subarray(this.#current.used)
  }

  /** So many bytes were read to the last `room`; returns the slab, of which they are the last ones used. */
  received(bytes: number): InputSlab {
    this.#current.used += bytes
    return this.#current
  }

  /** A slab of at least `bytes`, with one reference. */
  take(bytes: number): InputSlab {
    const slab = this.#find(bytes)
    slab.refs = 1
    return slab
  }

  #find(bytes: number): InputSlab {
    const idle = this.#kept.find((slab) => this.#isIdle(slab) && slab.buffer.byteLength >= bytes)
    return idle ?? this.#allocate(bytes)
  }

  #allocate(bytes: number): InputSlab {
    const size = Math.max(bytes, SLAB_BYTES)
    const slab = { buffer: Buffer.allocUnsafeSlow(size), used: 0, refs: 0 }
    if (size > KEPT_SLAB_BYTES_MAX) return slab
    if (this.#kept.length < KEPT_SLABS_MAX) this.#kept.push(slab)
    else {
      const smaller = this.#kept.findIndex(
        (old) => this.#isIdle(old) && old.buffer.byteLength < size
      )
      if (smaller >= 0) this.#kept[smaller] = slab
    }
    return slab
  }

  #isIdle(slab: InputSlab): boolean {
    return slab.refs === 0 && slab !== this.#current
  }
}
