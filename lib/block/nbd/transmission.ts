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
import type { InputMemory, InputSlab } from './input-memory.ts'
import { Payload } from './payload.ts'
import { CMD, CMD_FLAG, REQUEST_BYTES } from './protocol.ts'
import {
  decodeRequest,
  newRequest,
  refusalOf,
  type Request,
  type RequestLimits
} from './request.ts'
import type { Replies } from './replies.ts'
import type { ReplyQueue } from './reply-queue.ts'
import type { Slab, SlabPool } from './slab-pool.ts'

/**
 * Replies that wait for the client. More would only leave the CPU's cache before they leave us; less, and the
 * socket would run dry between two large reads.
 */
const QUEUED_BYTES_MAX = 512 * 1024
/** Requests under way and replies not yet taken by the client, for one connection. */
const CONNECTION_BYTES_MAX = 34 * 1024 * 1024
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
  memory: InputMemory
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
  readonly #limits: RequestLimits
  readonly #payload: Payload
  /** The request whose header was read and that has not started yet. */
  readonly #request = newRequest()
  #hasHeader = false
  /** Bytes of a refused write's payload still to come. */
  #skipBytes = 0
  #holeCheck = true
  #disconnecting = false
  #closed = false

  constructor(opts: TransmissionOptions) {
    this.#opts = opts
    this.#device = opts.device
    this.#pool = opts.pool
    this.#queue = opts.queue
    this.#replies = opts.replies
    this.#payload = new Payload(opts.memory, opts.pool)
    this.#limits = {
      sizeBytes: opts.device.size,
      readOnly: opts.device.readOnly,
      structuredReplies: opts.structuredReplies,
      blockStatus: opts.blockStatus
    }
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
      const request = this.#request
      if (request.type === CMD.WRITE) {
        if (!this.#write(request, input)) return true
      } else {
        this.#serve(request)
      }
      this.#hasHeader = false
    }
    return true
  }

  /** The connection is gone. */
  close(): void {
    this.#closed = true
    this.#payload.release()
  }

  #readHeader(input: ByteQueue): boolean {
    if (input.byteLength < REQUEST_BYTES) return false
    const bytes = input.take(REQUEST_BYTES)
    if (!decodeRequest(bytes, this.#request)) {
      this.#opts.onmalformed()
      return false
    }
    this.#hasHeader = true
    return true
  }

  #hasRoom(): boolean {
    const { type, length } = this.#request
    if (this.#payload.slab !== null) return true
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

  #serve(request: Request): void {
    const error = refusalOf(request, this.#limits)
    if (error !== 0) return this.#refuse(request, error)
    const { flags, offset, length } = request
    const fua = (flags & CMD_FLAG.FUA) !== 0
    switch (request.type) {
      case CMD.READ:
        return this.#read(request)
      case CMD.BLOCK_STATUS:
        return this.#blockStatus(request)
      case CMD.FLUSH:
        return this.#change(request, () => this.#device.flush())
      case CMD.TRIM:
        return this.#change(request, () => this.#device.trim(offset, length, fua))
      case CMD.WRITE_ZEROES: {
        const mayTrim = (flags & CMD_FLAG.NO_HOLE) === 0
        return this.#change(request, () => this.#device.writeZeroes(offset, length, mayTrim, fua))
      }
      default: // DISC: the others are refused
        this.#disconnecting = true
        this.#disconnectWhenDone()
    }
  }

  #read({ cookieHigh, cookieLow, offset, length }: Request): void {
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
  #write(request: Request, input: ByteQueue): boolean {
    const { length } = request
    if (this.#payload.slab === null) {
      const error = refusalOf(request, this.#limits)
      if (error !== 0) {
        this.#skipBytes = length
        this.#refuse(request, error)
        return true
      }
      if (length === 0) {
        this.#replies.done(request.cookieHigh, request.cookieLow)
        return true
      }
      const slice = input.byteLength >= length ? input.takeContiguous(length) : null
      if (slice !== null) {
        this.#store(request, slice, input.slab!)
        return true
      }
      this.#payload.start(length)
    }
    const source = this.#payload.fill(input)
    if (source === null) return false
    this.#store(request, source, this.#payload.slab!)
    this.#payload.release()
    return true
  }

  #store({ flags, offset, cookieHigh, cookieLow }: Request, source: Buffer, slab: InputSlab): void {
    const length = source.byteLength
    let result: void | Promise<void>
    try {
      result = this.#device.pwrite(source, offset, (flags & CMD_FLAG.FUA) !== 0)
    } catch (err) {
      return this.#fail(cookieHigh, cookieLow, err)
    }
    if (result === undefined) return this.#replies.done(cookieHigh, cookieLow)
    this.#pool.charge(length)
    slab.refs++
    this.#changeLater(result, cookieHigh, cookieLow, length, slab)
  }

  #change({ cookieHigh, cookieLow }: Request, run: () => void | Promise<void>): void {
    let result: void | Promise<void>
    try {
      result = run()
    } catch (err) {
      return this.#fail(cookieHigh, cookieLow, err)
    }
    if (result === undefined) return this.#replies.done(cookieHigh, cookieLow)
    this.#changeLater(result, cookieHigh, cookieLow, SMALL_REQUEST_BYTES, null)
  }

  /** @param slab what it reads from, with a reference for it; then `bytes` of it are charged, too. */
  #changeLater(
    result: Promise<void>,
    high: number,
    low: number,
    bytes: number,
    slab: InputSlab | null
  ): void {
    this.#begin(bytes)
    this.pendingChanges++
    const end = () => {
      this.pendingChanges--
      if (slab !== null) {
        slab.refs--
        this.#pool.discharge(bytes)
      }
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

  #blockStatus({ cookieHigh, cookieLow, flags, offset, length }: Request): void {
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

  #refuse({ type, cookieHigh, cookieLow }: Request, error: number): void {
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
