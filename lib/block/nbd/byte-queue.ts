/**
 * Bytes received and not yet consumed, where the socket put them. What is taken stays valid until the socket reads
 * again; whoever needs it longer takes a reference to its slab.
 */
import type { InputSlab } from './input-memory.ts'

interface Piece {
  slab: InputSlab
  start: number
  end: number
}

export class ByteQueue {
  byteLength = 0
  /** Where the last slice lies that was not copied. */
  slab: InputSlab | null = null
  readonly #pieces: Piece[] = []

  /** The last `bytes` used of a slab. */
  push(slab: InputSlab, bytes: number): void {
    this.byteLength += bytes
    const last = this.#pieces.at(-1)
    if (last !== undefined && last.slab === slab && last.end === slab.used - bytes) {
      last.end = slab.used
      return
    }
    slab.refs++
    this.#pieces.push({ slab, start: slab.used - bytes, end: slab.used })
  }

  /** The next `bytes` when they lie in one piece, without a copy; else null. Call only when so many are here. */
  takeContiguous(bytes: number): Buffer | null {
    const { slab, start, end } = this.#pieces[0]
    if (end - start < bytes) return null
    this.slab = slab
    this.#consume(bytes)
    return slab.buffer.subarray(start, start + bytes)
  }

  /** The next `bytes`, copied only when they lie in several pieces. Call only when so many are here. */
  take(bytes: number): Buffer {
    if (bytes === 0) return Buffer.alloc(0)
    const slice = this.takeContiguous(bytes)
    if (slice !== null) return slice
    const copy = Buffer.allocUnsafe(bytes)
    this.copyTo(copy, 0, bytes)
    return copy
  }

  /** Moves up to `bytes` into `target` at `offset`; returns how many there were. */
  copyTo(target: Buffer, offset: number, bytes: number): number {
    let done = 0
    while (done < bytes && this.byteLength > 0) {
      const { slab, start, end } = this.#pieces[0]
      const taken = Math.min(end - start, bytes - done)
      slab.buffer.copy(target, offset + done, start, start + taken)
      this.#consume(taken)
      done += taken
    }
    return done
  }

  /** Drops up to `bytes`; returns how many there were. */
  skip(bytes: number): number {
    let done = 0
    while (done < bytes && this.byteLength > 0) {
      const { start, end } = this.#pieces[0]
      const taken = Math.min(end - start, bytes - done)
      this.#consume(taken)
      done += taken
    }
    return done
  }

  clear(): void {
    this.skip(this.byteLength)
  }

  #consume(bytes: number): void {
    const first = this.#pieces[0]
    this.byteLength -= bytes
    first.start += bytes
    if (first.start < first.end) return
    first.slab.refs--
    this.#pieces.shift()
  }
}
