/**
 * Replies of one connection on their way out: written into slabs, coalesced, and sent with one system call a burst.
 *
 *   reserve(n) ─▶ the device fills it ─▶ send()  ─▶ flush() ─▶ the socket is done ─▶ slab back to the pool
 *                                    └─▶ release()  (the request failed)
 */
import type { Socket } from 'node:net'
import type { Slab, SlabPool } from './slab-pool.ts'

interface Segment {
  slab: Slab
  start: number
  end: number
}

/** Enough for one system call; what is larger is sent in the middle of a burst, while it is in the CPU's cache. */
const FLUSH_BYTES = 256 * 1024

export class ReplyQueue {
  /** Bytes that the socket has not taken yet. */
  queuedBytes = 0
  readonly #socket: Socket
  readonly #pool: SlabPool
  readonly #onsent: () => void
  #current: Slab | null = null
  #segments: Segment[] = []
  #unflushedBytes = 0
  /** Handed to the socket, oldest first. */
  #sending: Segment[] = []
  #sendingHead = 0
  #closed = false

  /** `onsent` runs each time that the socket has taken something. */
  constructor(socket: Socket, pool: SlabPool, onsent: () => void) {
    this.#socket = socket
    this.#pool = pool
    this.#onsent = onsent
  }

  /** Space for `bytes`, the last ones of `slab.used`. Ends in `send` or `release`. */
  reserve(bytes: number): Slab {
    let slab = this.#current
    if (slab === null || slab.used + bytes > slab.buffer.byteLength) {
      slab = this.#pool.take(bytes)
      const old = this.#current
      // Keep the one with more room for those who come next.
      if (old === null || slab.buffer.byteLength - bytes > old.buffer.byteLength - old.used) {
        this.#current = slab
      }
    }
    slab.used += bytes
    slab.refs++
    return slab
  }

  /** Queues a reserved region. Nothing moves before `flush`. */
  send(slab: Slab, start: number, bytes: number): void {
    if (this.#closed) return this.release(slab)
    this.queuedBytes += bytes
    this.#unflushedBytes += bytes
    const last = this.#segments.at(-1)
    if (last !== undefined && last.slab === slab && last.end === start) {
      last.end += bytes
      slab.refs--
    } else {
      this.#segments.push({ slab, start, end: start + bytes })
    }
    if (this.#unflushedBytes >= FLUSH_BYTES) this.flush()
  }

  release(slab: Slab): void {
    if (--slab.refs > 0) return
    if (slab === this.#current) this.#current = null
    this.#pool.give(slab)
  }

  flush(): void {
    const segments = this.#segments
    if (segments.length === 0) return
    this.#segments = []
    this.#unflushedBytes = 0
    if (segments.length > 1) this.#socket.cork()
    for (const segment of segments) {
      this.#sending.push(segment)
      this.#socket.write(segment.slab.buffer.subarray(segment.start, segment.end), this.#onwritten)
    }
    if (segments.length > 1) this.#socket.uncork()
  }

  /** The socket has emitted `close`: the system reads from none of our memory any more. */
  close(): void {
    this.#closed = true
    for (const { slab } of this.#segments) this.release(slab)
    this.#segments = []
    while (this.#sendingHead < this.#sending.length) this.release(this.#shift().slab)
    this.queuedBytes = 0
  }

  /** Called by the socket once for each write, in order. */
  readonly #onwritten = (err?: Error | null) => {
    if (this.#closed || err) return
    const segment = this.#shift()
    this.queuedBytes -= segment.end - segment.start
    this.release(segment.slab)
    this.#onsent()
  }

  #shift(): Segment {
    const segment = this.#sending[this.#sendingHead++]
    if (this.#sendingHead === this.#sending.length) {
      this.#sending.length = 0
      this.#sendingHead = 0
    }
    return segment
  }
}
