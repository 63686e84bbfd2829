/** A version of a volume in memory, as a base under an overlay. */
import { CHUNK_BYTES } from '../../lib/base/limits.ts'
import type { VolumeBase } from '../../lib/volume/base.ts'

export class MemoryBase implements VolumeBase {
  readonly sizeBytes: number
  readonly content: Buffer
  /** Answers reads by a promise, after that many turns of the event loop; 0 answers at once. */
  delay = 0
  reads = 0

  /** Keeps the buffer, padded with zeros to whole chunks. */
  constructor(content: Buffer) {
    this.sizeBytes = content.byteLength
    const padded = Math.ceil(content.byteLength / CHUNK_BYTES) * CHUNK_BYTES
    this.content = Buffer.concat([content, Buffer.alloc(padded - content.byteLength)])
  }

  read(first: number, count: number, target: Buffer): void | Promise<void> {
    this.reads++
    if (this.delay === 0) return this.#copy(first, count, target)
    return this.#later(first, count, target)
  }

  run(first: number, max: number): { count: number; zero: boolean } {
    const zero = this.#isZero(first)
    let count = 1
    while (count < max && this.#isZero(first + count) === zero) count++
    return { count, zero }
  }

  async #later(first: number, count: number, target: Buffer): Promise<void> {
    for (let i = 0; i < this.delay; i++) await new Promise((resolve) => setImmediate(resolve))
    this.#copy(first, count, target)
  }

  #copy(first: number, count: number, target: Buffer): void {
    this.content.copy(target, 0, first * CHUNK_BYTES, (first + count) * CHUNK_BYTES)
  }

  #isZero(chunk: number): boolean {
    const at = chunk * CHUNK_BYTES
    return this.content.subarray(at, at + CHUNK_BYTES).every((byte) => byte === 0)
  }
}
