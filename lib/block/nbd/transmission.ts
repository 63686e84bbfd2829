/**
 * The transmission phase of one connection: cuts the byte stream into requests, lets the device serve them, and
 * queues the replies.
 *
 * Invariants
 * - Requests start in the order of arrival and may finish in any order. A device that answers at once (void)
 *   costs no promise; replies of one burst of requests leave together.
 * - A request starts only when its bytes fit below the limits of the connection and of the server; until then
 *   nothing is read from the socket. A connection with nothing under way may always start a small one, so that
 *   no other connection can starve it.
 * - The framing never suffers from a request that we refuse: the payload of a refused write is skipped.
 * - After `close` a device may still finish what it has begun; nothing but memory accounting happens then.
 */
import { NBD_REQUEST_BYTES_MAX } from '../../base/limits.ts'
import type { BlockDevice, BlockExtent } from '../device.ts'
import type { ByteQueue } from './byte-queue.ts'
import { nbdErrorOf } from './errors.ts'
import { CMD, CMD_FLAG, NBD_ERROR, REQUEST_BYTES, REQUEST_MAGIC } from './protocol.ts'
import type { Replies } from './replies.ts'
import type { ReplyQueue } from './reply-queue.ts'
import type { Slab, SlabPool } from './slab-pool.ts'

/**
 * Replies that wait for the client. More would only leave the CPU's cache before they leave us; less, and the
 * socket would run dry between two large reads.
 */
const QUEUED_BYTES_MAX = 512 * 1024
/** Requests under way and replies not yet taken by the client, for one connection. */
const CONNECTION_BYTES_MAX = 64 * 1024 * 1024
/** An idle connection may start a request of this size whatever the others do. */
const ALWAYS_ALLOWED_BYTES = 1024 * 1024
/** Requests that wait for the device at once, for one connection. */
const PENDING_REQUESTS_MAX = 4096
/** Reads from this size on are worth asking whether they are a hole. */
const HOLE_CHECK_BYTES = 64 * 1024
const EXTENTS_MAX = 4096
/** What a request costs that moves no data. */
const SMALL_REQUEST_BYTES = 64

export interface TransmissionOptions {
  device: BlockDevice
  structuredReplies: boolean
  blockStatus: boolean
  pool: SlabPool
  queue: ReplyQueue
  replies: Replies
  /** A device failed; the client was told. */
  onerror(err: unknown): void
  /** The stream makes no sense any more: cut the connection. */
  onmalformed(): void
  /** The client said good-bye and everything was answered. */
  ondisconnect(): void
  /** A request ended that the device did not answer at once. */
  onprogress(): void
}

/** The request whose header was read and that has not started yet. Cookies are opaque: two halves. */
interface Header {
  flags: number
  type: number
  cookieHigh: number
  cookieLow: number
  offset: number
  length: number
}

export class Transmission {
  /** Requests that the device has begun and not finished. */
  pendingRequests = 0
  /** Those of them that change the device. */
  pendingChanges = 0
  #pendingBytes = 0
  readonly #device: BlockDevice
  readonly #opts: TransmissionOptions
  readonly #pool: SlabPool
  readonly #queue: ReplyQueue
  readonly #replies: Replies
  readonly #header: Header = newHeader()
  #hasHeader = false
  /** Bytes of a refused write's payload still to come. */
  #skipBytes = 0
  /** A write whose payload arrives in pieces. */
  #payload: Buffer | null = null
  #payloadBytes = 0
  #scratch: Buffer | null = null
  #holeCheck = true
  #disconnecting = false
  #closed = false

  constructor(opts: TransmissionOptions) {
    this.#opts = opts
    this.#device = opts.device
    this.#pool = opts.pool
    this.#queue = opts.queue
    this.#replies = opts.replies
  }

  /** Serves what is complete. False when it stopped for lack of room: call again after progress. */
  advance(input: ByteQueue): boolean {
    while (!this.#closed && !this.#disconnecting) {
      if (this.#skipBytes > 0) {
        this.#skipBytes -= input.skip(this.#skipBytes)
        if (this.#skipBytes > 0) return true
      }
      if (!this.#hasHeader && !this.#readHeader(input)) return true
      if (!this.#hasRoom()) return false
      const header = this.#header
      if (header.type === CMD.WRITE) {
        if (!this.#write(header, input)) return true
      } else {
        this.#serve(header)
      }
      this.#hasHeader = false
    }
    return true
  }

  /** The connection is gone. */
  close(): void {
    this.#closed = true
    this.#dropPayload()
  }

  #readHeader(input: ByteQueue): boolean {
    if (input.byteLength < REQUEST_BYTES) return false
    const bytes = input.take(REQUEST_BYTES)
    if (bytes.readUInt32BE(0) !== REQUEST_MAGIC) {
      this.#opts.onmalformed()
      return false
    }
    const header = this.#header
    header.flags = bytes.readUInt16BE(4)
    header.type = bytes.readUInt16BE(6)
    header.cookieHigh = bytes.readUInt32BE(8)
    header.cookieLow = bytes.readUInt32BE(12)
    // Not exact above 2^53, but then larger than any device all the same.
    header.offset = bytes.readUInt32BE(16) * 2 ** 32 + bytes.readUInt32BE(20)
    header.length = bytes.readUInt32BE(24)
    this.#hasHeader = true
    return true
  }

  #hasRoom(): boolean {
    const { type, length } = this.#header
    if (this.#payload !== null) return true
    const moves = (type === CMD.READ || type === CMD.WRITE) && length <= NBD_REQUEST_BYTES_MAX
    const bytes = moves ? length : SMALL_REQUEST_BYTES
    const busyBytes = this.#pendingBytes + this.#queue.queuedBytes
    if (busyBytes === 0 && this.pendingRequests === 0) {
      return (
        bytes <= ALWAYS_ALLOWED_BYTES || this.#pool.hasRoom(bytes) || this.#pool.usedBytes === 0
      )
    }
    return (
      this.#queue.queuedBytes < QUEUED_BYTES_MAX &&
      busyBytes + bytes <= CONNECTION_BYTES_MAX &&
      this.pendingRequests < PENDING_REQUESTS_MAX &&
      this.#pool.hasRoom(bytes)
    )
  }

  #serve(header: Header): void {
    const error = this.#check(header)
    if (error !== 0) return this.#refuse(header, error)
    const { flags, offset, length } = header
    const fua = (flags & CMD_FLAG.FUA) !== 0
    switch (header.type) {
      case CMD.READ:
        return this.#read(header)
      case CMD.BLOCK_STATUS:
        return this.#blockStatus(header)
      case CMD.FLUSH:
        return this.#change(header, () => this.#device.flush())
      case CMD.TRIM:
        return this.#change(header, () => this.#device.trim(offset, length, fua))
      case CMD.WRITE_ZEROES: {
        const mayTrim = (flags & CMD_FLAG.NO_HOLE) === 0
        return this.#change(header, () => this.#device.writeZeroes(offset, length, mayTrim, fua))
      }
      default: // DISC, see #check
        this.#disconnecting = true
        this.#disconnectWhenDone()
    }
  }

  /** 0, or the error with which the request is refused. */
  #check({ type, flags, offset, length }: Header): number {
    const beyond = offset > this.#device.size || length > this.#device.size - offset
    switch (type) {
      case CMD.READ: {
        const allowed = CMD_FLAG.FUA | (this.#opts.structuredReplies ? CMD_FLAG.DF : 0)
        const bad = (flags & ~allowed) !== 0 || beyond || length > NBD_REQUEST_BYTES_MAX
        return bad ? NBD_ERROR.EINVAL : 0
      }
      case CMD.WRITE:
        if ((flags & ~CMD_FLAG.FUA) !== 0 || length > NBD_REQUEST_BYTES_MAX) return NBD_ERROR.EINVAL
        if (this.#device.readOnly) return NBD_ERROR.EPERM
        return beyond ? NBD_ERROR.ENOSPC : 0
      case CMD.FLUSH:
        return (flags & ~CMD_FLAG.FUA) !== 0 || offset !== 0 || length !== 0 ? NBD_ERROR.EINVAL : 0
      case CMD.TRIM:
        if ((flags & ~CMD_FLAG.FUA) !== 0) return NBD_ERROR.EINVAL
        if (this.#device.readOnly) return NBD_ERROR.EPERM
        return beyond ? NBD_ERROR.EINVAL : 0
      case CMD.WRITE_ZEROES: {
        const allowed = CMD_FLAG.FUA | CMD_FLAG.NO_HOLE | CMD_FLAG.FAST_ZERO
        if ((flags & ~allowed) !== 0) return NBD_ERROR.EINVAL
        if (this.#device.readOnly) return NBD_ERROR.EPERM
        if (beyond) return NBD_ERROR.ENOSPC
        // Forgetting is fast; reserving may not be.
        const reserveFast = CMD_FLAG.NO_HOLE | CMD_FLAG.FAST_ZERO
        return (flags & reserveFast) === reserveFast ? NBD_ERROR.ENOTSUP : 0
      }
      case CMD.BLOCK_STATUS: {
        const allowed = CMD_FLAG.FUA | CMD_FLAG.REQ_ONE
        const bad = (flags & ~allowed) !== 0 || beyond || length === 0 || !this.#opts.blockStatus
        return bad ? NBD_ERROR.EINVAL : 0
      }
      case CMD.DISC:
        return 0
      default:
        return NBD_ERROR.EINVAL
    }
  }

  #read({ cookieHigh, cookieLow, offset, length }: Header): void {
    if (length === 0) return this.#replies.empty(cookieHigh, cookieLow)
    if (
      length >= HOLE_CHECK_BYTES &&
      this.#opts.structuredReplies &&
      this.#isHole(offset, length)
    ) {
      return this.#replies.hole(cookieHigh, cookieLow, offset, length)
    }
    const headerBytes = this.#replies.dataHeaderBytes
    const slab = this.#queue.reserve(headerBytes + length)
    const start = slab.used - headerBytes - length
    let result: void | Promise<void>
    try {
      result = this.#device.pread(slab.buffer.subarray(start + headerBytes, slab.used), offset)
    } catch (err) {
      this.#queue.release(slab)
      return this.#failRead(cookieHigh, cookieLow, err)
    }
    if (result === undefined) {
      return this.#replies.data(slab, start, cookieHigh, cookieLow, offset, length)
    }
    this.#readLater(result, slab, start, cookieHigh, cookieLow, offset, length)
  }

  #readLater(
    result: Promise<void>,
    slab: Slab,
    start: number,
    cookieHigh: number,
    cookieLow: number,
    offset: number,
    length: number
  ): void {
    this.#begin(length)
    result.then(
      () => {
        this.#replies.data(slab, start, cookieHigh, cookieLow, offset, length)
        this.#end(length)
      },
      (err: unknown) => {
        this.#queue.release(slab)
        this.#failRead(cookieHigh, cookieLow, err)
        this.#end(length)
      }
    )
  }

  /** True only when the device knows it at once and the whole range is a hole. */
  #isHole(offset: number, length: number): boolean {
    if (!this.#holeCheck) return false
    let extents: BlockExtent[] | Promise<BlockExtent[]>
    try {
      extents = this.#device.blockStatus(offset, length, 1)
    } catch {
      return false
    }
    if (Array.isArray(extents)) return extents[0]?.hole && extents[0].length >= length
    // It has to think about it: reading is as good, from now on without asking.
    this.#holeCheck = false
    extents.catch(() => {})
    return false
  }

  /** False while the payload is not complete. */
  #write(header: Header, input: ByteQueue): boolean {
    const { length, offset, cookieHigh, cookieLow } = header
    let source: Buffer | null = this.#payload
    if (source === null) {
      const error = this.#check(header)
      if (error !== 0) {
        this.#skipBytes = length
        this.#refuse(header, error)
        return true
      }
      if (length === 0) {
        this.#replies.done(cookieHigh, cookieLow)
        return true
      }
      if (input.byteLength >= length) source = input.takeContiguous(length)
      if (source === null) source = this.#startPayload(length)
    }
    if (source === this.#payload) {
      this.#payloadBytes += input.copyTo(source, this.#payloadBytes, length - this.#payloadBytes)
      if (this.#payloadBytes < length) return false
      this.#payload = null
    }
    this.#store(source, offset, cookieHigh, cookieLow, (header.flags & CMD_FLAG.FUA) !== 0)
    return true
  }

  #startPayload(length: number): Buffer {
    // The device keeps no reference to what it was given, so small payloads share one buffer.
    if (this.#scratch === null || this.#scratch.byteLength < length) {
      this.#scratch = Buffer.allocUnsafeSlow(Math.max(length, HOLE_CHECK_BYTES))
    }
    this.#pool.charge(length)
    this.#payloadBytes = 0
    return (this.#payload = this.#scratch.subarray(0, length))
  }

  #dropPayload(): void {
    if (this.#payload === null) return
    this.#pool.discharge(this.#payload.byteLength)
    this.#payload = null
  }

  #store(source: Buffer, offset: number, high: number, low: number, fua: boolean): void {
    const length = source.byteLength
    const copied = this.#scratch !== null && source.buffer === this.#scratch.buffer
    if (copied) this.#pool.discharge(length)
    let result: void | Promise<void>
    try {
      result = this.#device.pwrite(source, offset, fua)
    } catch (err) {
      return this.#fail(high, low, err)
    }
    if (copied && (result !== undefined || length > ALWAYS_ALLOWED_BYTES)) this.#scratch = null
    if (result === undefined) return this.#replies.done(high, low)
    this.#pool.charge(length)
    this.#changeLater(result, high, low, length, length)
  }

  #change({ cookieHigh, cookieLow }: Header, run: () => void | Promise<void>): void {
    let result: void | Promise<void>
    try {
      result = run()
    } catch (err) {
      return this.#fail(cookieHigh, cookieLow, err)
    }
    if (result === undefined) return this.#replies.done(cookieHigh, cookieLow)
    this.#changeLater(result, cookieHigh, cookieLow, SMALL_REQUEST_BYTES, 0)
  }

  #changeLater(result: Promise<void>, high: number, low: number, bytes: number, charged: number) {
    this.#begin(bytes)
    this.pendingChanges++
    const end = () => {
      this.pendingChanges--
      if (charged > 0) this.#pool.discharge(charged)
      this.#end(bytes)
    }
    result.then(
      () => {
        this.#replies.done(high, low)
        end()
      },
      (err: unknown) => {
        this.#fail(high, low, err)
        end()
      }
    )
  }

  #blockStatus({ cookieHigh, cookieLow, flags, offset, length }: Header): void {
    const one = (flags & CMD_FLAG.REQ_ONE) !== 0
    const answer = (extents: BlockExtent[]) =>
      this.#replies.blockStatus(cookieHigh, cookieLow, extents)
    let result: BlockExtent[] | Promise<BlockExtent[]>
    try {
      result = this.#device.blockStatus(offset, length, one ? 1 : EXTENTS_MAX)
    } catch (err) {
      return this.#failRead(cookieHigh, cookieLow, err)
    }
    if (Array.isArray(result)) return answer(result)
    this.#begin(SMALL_REQUEST_BYTES)
    result
      .then(answer)
      .catch((err: unknown) => this.#failRead(cookieHigh, cookieLow, err))
      .finally(() => this.#end(SMALL_REQUEST_BYTES))
      .catch(this.#opts.onerror)
  }

  #refuse({ type, cookieHigh, cookieLow }: Header, error: number): void {
    if (type === CMD.READ || type === CMD.BLOCK_STATUS) {
      this.#replies.readError(cookieHigh, cookieLow, error, '')
    } else {
      this.#replies.error(cookieHigh, cookieLow, error)
    }
  }

  #failRead(cookieHigh: number, cookieLow: number, err: unknown): void {
    const message = err instanceof Error ? err.message : String(err)
    this.#replies.readError(cookieHigh, cookieLow, nbdErrorOf(err), message)
    if (!this.#closed) this.#opts.onerror(err)
  }

  #fail(cookieHigh: number, cookieLow: number, err: unknown): void {
    this.#replies.error(cookieHigh, cookieLow, nbdErrorOf(err))
    if (!this.#closed) this.#opts.onerror(err)
  }

  #begin(bytes: number): void {
    this.pendingRequests++
    this.#pendingBytes += bytes
  }

  #end(bytes: number): void {
    this.pendingRequests--
    this.#pendingBytes -= bytes
    if (this.#disconnecting) this.#disconnectWhenDone()
    this.#opts.onprogress()
  }

  #disconnectWhenDone(): void {
    if (this.pendingRequests === 0 && !this.#closed) this.#opts.ondisconnect()
  }
}

function newHeader(): Header {
  return { flags: 0, type: 0, cookieHigh: 0, cookieLow: 0, offset: 0, length: 0 }
}
