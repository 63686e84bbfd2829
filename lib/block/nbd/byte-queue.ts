/**
 * Bytes received and not yet consumed, as the chunks that the socket gave. A chunk belongs to us, so a slice of
 * it may be handed on without a copy.
 */
export class ByteQueue {
  byteLength = 0
  #chunks: Buffer[] = []
  /** Consumed bytes of the first chunk. */
  #start = 0

  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.byteLength += chunk.byteLength
  }

  /** The next `bytes` when they lie in one chunk, without a copy; else null. Call only when so many are here. */
  takeContiguous(bytes: number): Buffer | null {
    const first = this.#chunks[0]
    if (first.byteLength - this.#start < bytes) return null
    const slice = first.subarray(this.#start, this.#start + bytes)
    this.#consume(bytes)
    return slice
  }

  /** The next `bytes`, copied only when they lie in several chunks. Call only when so many are here. */
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
      const first = this.#chunks[0]
      const taken = Math.min(first.byteLength - this.#start, bytes - done)
      first.copy(target, offset + done, this.#start, this.#start + taken)
      this.#consume(taken)
      done += taken
    }
    return done
  }

  /** Drops up to `bytes`; returns how many there were. */
  skip(bytes: number): number {
    let done = 0
    while (done < bytes && this.byteLength > 0) {
      const taken = Math.min(this.#chunks[0].byteLength - this.#start, bytes - done)
      this.#consume(taken)
      done += taken
    }
    return done
  }

  clear(): void {
    this.#chunks = []
    this.#start = 0
    this.byteLength = 0
  }

  #consume(bytes: number): void {
    this.byteLength -= bytes
    this.#start += bytes
    if (this.#start === this.#chunks[0].byteLength) {
      this.#chunks.shift()
      this.#start = 0
    }
  }
}
