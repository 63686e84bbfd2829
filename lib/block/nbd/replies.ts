/** Replies of the transmission phase, written straight into slabs. Cookies are two halves of 64 bits. */
import type { BlockExtent } from '../device.ts'
import {
  BASE_ALLOCATION_ID,
  NBD_ERROR,
  REPLY_FLAG_DONE,
  REPLY_TYPE,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
  STATE_HOLE,
  STATE_ZERO,
  STRUCTURED_REPLY_BYTES,
  STRUCTURED_REPLY_MAGIC
} from './protocol.ts'
import type { ReplyQueue } from './reply-queue.ts'
import type { Slab } from './slab-pool.ts'

const OFFSET_BYTES = 8
const MESSAGE_BYTES_MAX = 512

export class Replies {
  /** Bytes before the data in the reply to a read. */
  readonly dataHeaderBytes: number
  readonly #queue: ReplyQueue
  readonly #structured: boolean

  constructor(queue: ReplyQueue, structured: boolean) {
    this.#queue = queue
    this.#structured = structured
    this.dataHeaderBytes = structured ? STRUCTURED_REPLY_BYTES + OFFSET_BYTES : SIMPLE_REPLY_BYTES
  }

  /** Success without data. */
  done(high: number, low: number): void {
    this.error(high, low, 0)
  }

  /** The answer to a command other than READ and BLOCK_STATUS. */
  error(high: number, low: number, error: number): void {
    const slab = this.#queue.reserve(SIMPLE_REPLY_BYTES)
    const at = slab.used - SIMPLE_REPLY_BYTES
    writeSimple(slab.buffer, at, error, high, low)
    this.#queue.send(slab, at, SIMPLE_REPLY_BYTES)
  }

  /** Success of a read of nothing. */
  empty(high: number, low: number): void {
    if (!this.#structured) return this.done(high, low)
    const { slab, at } = this.#reserveChunk(REPLY_TYPE.NONE, high, low, 0)
    this.#queue.send(slab, at, STRUCTURED_REPLY_BYTES)
  }

  /** A reserved region from `start` on, whose data the device has filled in. */
  data(slab: Slab, start: number, high: number, low: number, offset: number, length: number): void {
    if (this.#structured) {
      const bytes = OFFSET_BYTES + length
      writeStructured(slab.buffer, start, REPLY_TYPE.OFFSET_DATA, high, low, bytes)
      writeOffset(slab.buffer, start + STRUCTURED_REPLY_BYTES, offset)
    } else {
      writeSimple(slab.buffer, start, 0, high, low)
    }
    this.#queue.send(slab, start, this.dataHeaderBytes + length)
  }

  /** A read that is all zeros, not sent. Structured replies only. */
  hole(high: number, low: number, offset: number, length: number): void {
    const bytes = OFFSET_BYTES + 4
    const { slab, at } = this.#reserveChunk(REPLY_TYPE.OFFSET_HOLE, high, low, bytes)
    writeOffset(slab.buffer, at + STRUCTURED_REPLY_BYTES, offset)
    slab.buffer.writeUInt32BE(length, at + STRUCTURED_REPLY_BYTES + OFFSET_BYTES)
    this.#queue.send(slab, at, STRUCTURED_REPLY_BYTES + bytes)
  }

  blockStatus(high: number, low: number, extents: BlockExtent[]): void {
    if (extents.length === 0) return this.readError(high, low, NBD_ERROR.EIO, 'No extents')
    const bytes = 4 + extents.length * 8
    const { slab, at } = this.#reserveChunk(REPLY_TYPE.BLOCK_STATUS, high, low, bytes)
    let position = slab.buffer.writeUInt32BE(BASE_ALLOCATION_ID, at + STRUCTURED_REPLY_BYTES)
    for (const extent of extents) {
      position = slab.buffer.writeUInt32BE(extent.length, position)
      position = slab.buffer.writeUInt32BE(extent.hole ? STATE_HOLE | STATE_ZERO : 0, position)
    }
    this.#queue.send(slab, at, STRUCTURED_REPLY_BYTES + bytes)
  }

  /** A failed READ or BLOCK_STATUS; the message helps where the client shows it. */
  readError(high: number, low: number, error: number, message: string): void {
    if (!this.#structured) return this.error(high, low, error)
    const text = Buffer.from(message).subarray(0, MESSAGE_BYTES_MAX)
    const bytes = 6 + text.byteLength
    const { slab, at } = this.#reserveChunk(REPLY_TYPE.ERROR, high, low, bytes)
    const position = slab.buffer.writeUInt32BE(error, at + STRUCTURED_REPLY_BYTES)
    text.copy(slab.buffer, slab.buffer.writeUInt16BE(text.byteLength, position))
    this.#queue.send(slab, at, STRUCTURED_REPLY_BYTES + bytes)
  }

  #reserveChunk(type: number, high: number, low: number, bytes: number) {
    const slab = this.#queue.reserve(STRUCTURED_REPLY_BYTES + bytes)
    const at = slab.used - STRUCTURED_REPLY_BYTES - bytes
    writeStructured(slab.buffer, at, type, high, low, bytes)
    return { slab, at }
  }
}

function writeSimple(to: Buffer, at: number, error: number, high: number, low: number): void {
  to.writeUInt32BE(SIMPLE_REPLY_MAGIC, at)
  to.writeUInt32BE(error, at + 4)
  to.writeUInt32BE(high, at + 8)
  to.writeUInt32BE(low, at + 12)
}

/** Every reply of ours is one chunk, hence always the last. */
function writeStructured(
  to: Buffer,
  at: number,
  type: number,
  high: number,
  low: number,
  bytes: number
): void {
  to.writeUInt32BE(STRUCTURED_REPLY_MAGIC, at)
  to.writeUInt16BE(REPLY_FLAG_DONE, at + 4)
  to.writeUInt16BE(type, at + 6)
  to.writeUInt32BE(high, at + 8)
  to.writeUInt32BE(low, at + 12)
  to.writeUInt32BE(bytes, at + 16)
}

function writeOffset(to: Buffer, at: number, offset: number): void {
  to.writeUInt32BE(Math.floor(offset / 2 ** 32), at)
  to.writeUInt32BE(offset >>> 0, at + 4)
}
