/**
 * One client: owns the socket, carries bytes to the handshake and then to the transmission, and pauses the socket
 * while there is no room for more.
 *
 *   handshake ──GO / EXPORT_NAME──▶ transmission ──DISC, end──▶ closed
 *       └──ABORT, malformed, too slow──────────────────────────▶ closed
 */
import type { Socket } from 'node:net'
import { readInto } from '../../ipc/endpoint.ts'
import type { BlockDevice } from '../device.ts'
import { ByteQueue } from './byte-queue.ts'
import { Handshake, type ExportTable, type Negotiated } from './handshake.ts'
import { InputMemory } from './input-memory.ts'
import { Replies } from './replies.ts'
import { ReplyQueue } from './reply-queue.ts'
import type { SlabPool } from './slab-pool.ts'
import { Transmission } from './transmission.ts'

const HANDSHAKE_TIMEOUT_MS = 30_000

export interface ConnectionOptions {
  exports: ExportTable
  pool: SlabPool
  /** A device failed to serve a request of that export; the client was told. */
  onerror(err: unknown, exportName: string): void
  onclose(): void
}

export class Connection {
  /** Null during the handshake. */
  device: BlockDevice | null = null
  readonly #socket: Socket
  readonly #opts: ConnectionOptions
  readonly #memory = new InputMemory()
  readonly #input = new ByteQueue()
  readonly #queue: ReplyQueue
  readonly #handshake: Handshake
  readonly #handshakeTimer: NodeJS.Timeout
  readonly #closed: Promise<void>
  #transmission: Transmission | null = null
  #advancing = false
  /** The next request waits for room. */
  #blocked = false
  #paused = false
  #ending = false
  #flushScheduled = false

  /** Takes over a socket that does not read yet. */
  constructor(accepted: Socket, opts: ConnectionOptions) {
    const socket = readInto(
      accepted,
      () => this.#memory.room(),
      (bytes) => this.#onreceived(bytes)
    )
    this.#socket = socket
    this.#opts = opts
    this.#queue = new ReplyQueue(socket, opts.pool, () => this.#onroom())
    this.#handshake = new Handshake({
      exports: opts.exports,
      write: (data) => socket.write(data),
      onnegotiated: (result) => this.#onnegotiated(result),
      onabort: () => socket.destroySoon(),
      onmalformed: () => this.destroy()
    })
    this.#handshakeTimer = setTimeout(() => this.destroy(), HANDSHAKE_TIMEOUT_MS)
    this.#handshakeTimer.unref()
    this.#closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#onclose()
        resolve()
      })
    })
    // What went wrong with a socket is told by `close`: the client is gone.
    socket.on('error', () => {})
    this.#handshake.start()
  }

  /** Cuts the connection. Requests that the device has begun go on without us. */
  destroy(): void {
    this.#socket.destroy()
  }

  /** Starts no more requests, answers those under way, and closes; cuts the connection after `graceMs`. */
  async end(graceMs: number): Promise<void> {
    this.#ending = true
    this.#socket.pause()
    const timer = setTimeout(() => this.destroy(), graceMs)
    this.#endWhenIdle()
    await this.#closed
    clearTimeout(timer)
  }

  #onreceived(bytes: number): void {
    this.#input.push(this.#memory.received(bytes), bytes)
    if (this.#blocked) this.#pause()
    else this.#advance()
  }

  readonly #advance = (): void => {
    if (this.#advancing || this.#ending || this.#socket.destroyed) return
    this.#advancing = true
    if (this.#transmission === null) this.#handshake.advance(this.#input)
    const room = this.#transmission === null || this.#transmission.advance(this.#input)
    this.#advancing = false
    this.#queue.flush()
    this.#blocked = !room
    if (this.#blocked) {
      this.#opts.pool.wait(this.#advance)
    } else if (this.#paused) {
      this.#paused = false
      this.#socket.resume()
    }
  }

  /** While blocked; not before more arrives, because most often there is room again before that. */
  #pause(): void {
    if (this.#paused) return
    this.#paused = true
    this.#socket.pause()
  }

  #onroom(): void {
    if (this.#blocked) this.#advance()
  }

  /** A device answered late: send what is ready once per turn, not once per answer. */
  #onprogress(): void {
    if (this.#flushScheduled) return
    this.#flushScheduled = true
    queueMicrotask(() => {
      this.#flushScheduled = false
      this.#queue.flush()
      if (this.#ending) this.#endWhenIdle()
      else this.#onroom()
    })
  }

  #endWhenIdle(): void {
    if ((this.#transmission?.pendingRequests ?? 0) > 0) return
    this.#queue.flush()
    this.#socket.destroySoon()
  }

  #onnegotiated({ device, exportName, structuredReplies, blockStatus }: Negotiated): void {
    clearTimeout(this.#handshakeTimer)
    this.device = device
    this.#transmission = new Transmission({
      device,
      structuredReplies,
      blockStatus,
      pool: this.#opts.pool,
      memory: this.#memory,
      queue: this.#queue,
      replies: new Replies(this.#queue, structuredReplies),
      onerror: (err) => this.#opts.onerror(err, exportName),
      onmalformed: () => this.destroy(),
      ondisconnect: () => {
        this.#queue.flush()
        this.#socket.destroySoon()
      },
      onprogress: () => this.#onprogress()
    })
  }

  #onclose(): void {
    clearTimeout(this.#handshakeTimer)
    this.#opts.pool.cancelWait(this.#advance)
    this.#transmission?.close()
    this.#queue.close()
    this.#input.clear()
    this.#opts.onclose()
  }
}
