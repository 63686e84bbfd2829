/** A device in memory that counts what is read, can hold reads back, and can be full. */
import type { BlockDevice, BlockExtent } from '../../lib/block/device.ts'
import { MemoryDevice } from '../../lib/block/memory-device.ts'
import { HyperparcelError } from '../../lib/base/errors.ts'

const PIECE_BYTES = 1024 * 1024

export class TestDevice implements BlockDevice {
  readonly size: number
  readonly readOnly: boolean
  readonly content: MemoryDevice
  /** What clients read since the last reset. */
  readBytes = 0
  reads = 0
  writtenBytes = 0
  trimmedBytes = 0
  /** Every write fails for lack of space. */
  full = false
  #gate: Promise<void> | null = null
  #open: (() => void) | null = null
  /** Reads that wait. */
  held = 0

  constructor(size: number, readOnly: boolean) {
    this.size = size
    this.readOnly = readOnly
    this.content = new MemoryDevice(size)
  }

  resetCounters(): void {
    this.readBytes = this.reads = this.writtenBytes = this.trimmedBytes = 0
  }

  /** Reads wait from now on. */
  hold(): void {
    this.#gate ??= new Promise((resolve) => (this.#open = resolve))
  }

  release(): void {
    this.#open?.()
    this.#gate = null
    this.held = 0
  }

  pread(target: Buffer, offset: number): void | Promise<void> {
    this.readBytes += target.length
    this.reads++
    if (this.#gate === null) return this.content.pread(target, offset)
    this.held++
    return this.#gate.then(() => this.content.pread(target, offset))
  }

  pwrite(source: Buffer, offset: number): void | Promise<void> {
    if (this.full) return Promise.reject(new HyperparcelError('DISK_FULL', 'The test disk is full'))
    this.writtenBytes += source.length
    this.content.pwrite(source, offset, false)
  }

  flush(): void {}

  trim(offset: number, length: number): void {
    this.trimmedBytes += length
    this.content.trim(offset, length, false)
  }

  writeZeroes(offset: number, length: number): void {
    this.content.writeZeroes(offset, length, true, false)
  }

  blockStatus(offset: number, length: number, max: number): BlockExtent[] {
    return this.content.blockStatus(offset, length, max)
  }

  async close(): Promise<void> {}

  /** A device of its own with the same content. */
  copy(): TestDevice {
    const copy = new TestDevice(this.size, this.readOnly)
    const piece = Buffer.alloc(PIECE_BYTES)
    for (let offset = 0; offset < this.size; offset += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, this.size - offset)
      const [extent] = this.content.blockStatus(offset, length, 1)
      if (extent.hole && extent.length >= length) continue
      this.content.pread(piece.subarray(0, length), offset)
      copy.content.pwrite(piece.subarray(0, length), offset, false)
    }
    return copy
  }
}
