/**
 * Requests in both directions over one Unix socket: CLI ↔ daemon, daemon ↔ runner.
 *
 * A request has a JSON part and raw attachments, may report events while it runs (progress) and may be
 * cancelled; both sides may ask. Nothing is retried here: when the socket closes, every pending call
 * rejects with `CHANNEL_CLOSED` and every running handler's signal aborts.
 *
 * Backpressure: a call waits for `drain` before it writes, so a slow reader holds its writers back.
 */
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { HyperparcelError, type ErrorShape } from '../base/errors.ts'
import { FRAME, FrameParser, writeFrame, type Frame } from './frame.ts'

export interface RequestContext {
  /** Raw bytes that came with the request; owned by the handler. */
  attachment: Buffer
  /** Aborts when the caller cancels or is gone. */
  signal: AbortSignal
  /** Sends one event to the caller. */
  event(json: unknown): void
}

/** A handler's answer: any JSON value, or a `Reply` when bytes go with it. */
export class Reply {
  readonly json: unknown
  readonly attachments: Buffer[]
  constructor(json: unknown, attachments: Buffer[]) {
    this.json = json
    this.attachments = attachments
  }
}

// oxlint-disable-next-line typescript/no-explicit-any -- each handler knows the shape of its own parameters
export type Handler = (params: any, context: RequestContext) => unknown
export type Handlers = Record<string, Handler>

export interface CallOptions {
  attachments?: Buffer[]
  signal?: AbortSignal
  onevent?: (json: unknown) => void
}

export interface Answer<T> {
  json: T
  attachment: Buffer
}

interface Pending {
  resolve(answer: Answer<unknown>): void
  reject(err: Error): void
  onevent: ((json: unknown) => void) | undefined
}

/** Emits `close` once, when the socket is gone. */
export class Channel extends EventEmitter {
  readonly socket: Socket
  readonly #handlers: Handlers
  readonly #pending = new Map<number, Pending>()
  readonly #running = new Map<number, AbortController>()
  #nextId = 1
  #closed = false
  #draining: Promise<unknown> | null = null

  constructor(socket: Socket, handlers: Handlers = {}) {
    super()
    this.setMaxListeners(0)
    this.socket = socket
    this.#handlers = handlers
    const parser = new FrameParser((frame) => this.#onframe(frame))
    socket.on('data', (data: Buffer) => {
      try {
        parser.push(data)
      } catch (err) {
        socket.destroy(err as Error)
      }
    })
    socket.on('error', () => {})
    socket.on('close', () => this.#onclose())
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Asks the far side. Rejects with its error, with `CHANNEL_CLOSED`, or with the signal's reason. */
  async call<T = unknown>(method: string, params: unknown, opts: CallOptions = {}): Promise<T> {
    return (await this.callRaw<T>(method, params, opts)).json
  }

  /** As `call`, with the bytes that came with the answer. */
  async callRaw<T = unknown>(
    method: string,
    params: unknown,
    opts: CallOptions = {}
  ): Promise<Answer<T>> {
    if (this.socket.writableNeedDrain && !this.#closed) await this.#drained()
    if (this.#closed) throw closedError()
    opts.signal?.throwIfAborted()
    const id = this.#nextId
    this.#nextId = (id + 1) >>> 0 || 1
    const answer = new Promise<Answer<unknown>>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, onevent: opts.onevent })
    })
    const oncancel = () => {
      const pending = this.#pending.get(id)
      if (pending === undefined) return
      this.#pending.delete(id)
      if (!this.#closed) writeFrame(this.socket, FRAME.CANCEL, id, undefined)
      pending.reject(opts.signal!.reason as Error)
    }
    opts.signal?.addEventListener('abort', oncancel, { once: true })
    try {
      writeFrame(this.socket, FRAME.REQUEST, id, { method, params }, opts.attachments)
      return (await answer) as Answer<T>
    } finally {
      this.#pending.delete(id)
      opts.signal?.removeEventListener('abort', oncancel)
    }
  }

  /** Ends the connection; what was written still goes out. */
  close(): void {
    this.socket.end()
  }

  /** Shared by all who wait. Ends with the socket too. */
  #drained(): Promise<unknown> {
    this.#draining ??= new Promise<void>((resolve) => {
      const done = () => {
        this.socket.off('drain', done).off('close', done)
        this.#draining = null
        resolve()
      }
      this.socket.on('drain', done).on('close', done)
    })
    return this.#draining
  }

  #onframe(frame: Frame): void {
    switch (frame.kind) {
      case FRAME.REQUEST:
        void this.#serve(frame)
        return
      case FRAME.CANCEL:
        this.#running
          .get(frame.id)
          ?.abort(new HyperparcelError('INTERRUPTED', 'The caller gave up waiting'))
        return
      case FRAME.RESPONSE:
        this.#pending.get(frame.id)?.resolve({ json: frame.json, attachment: frame.attachment })
        return
      case FRAME.ERROR:
        this.#pending.get(frame.id)?.reject(HyperparcelError.fromJSON(frame.json as ErrorShape))
        return
      case FRAME.EVENT:
        this.#pending.get(frame.id)?.onevent?.(frame.json)
        return
      default:
        throw new HyperparcelError('FORMAT_INVALID', `A frame has the unknown kind ${frame.kind}`)
    }
  }

  async #serve(frame: Frame): Promise<void> {
    const { method, params } = frame.json as { method: string; params: unknown }
    const controller = new AbortController()
    this.#running.set(frame.id, controller)
    try {
      const handler = Object.hasOwn(this.#handlers, method) ? this.#handlers[method] : undefined
      if (handler === undefined) {
        throw new HyperparcelError('UNKNOWN_METHOD', `There is no method ${method} here`, {
          hint: 'The two programs may be of different versions: stop the daemon and try again.'
        })
      }
      const result = await handler(params, {
        attachment: frame.attachment,
        signal: controller.signal,
        event: (json) => {
          if (!this.#closed) writeFrame(this.socket, FRAME.EVENT, frame.id, json)
        }
      })
      if (this.#closed) return
      if (result instanceof Reply) {
        writeFrame(this.socket, FRAME.RESPONSE, frame.id, result.json, result.attachments)
      } else {
        writeFrame(this.socket, FRAME.RESPONSE, frame.id, result ?? null)
      }
    } catch (err) {
      if (!this.#closed) {
        writeFrame(this.socket, FRAME.ERROR, frame.id, HyperparcelError.from(err).toJSON())
      }
    } finally {
      this.#running.delete(frame.id)
    }
  }

  #onclose(): void {
    if (this.#closed) return
    this.#closed = true
    const err = closedError()
    for (const pending of this.#pending.values()) pending.reject(err)
    this.#pending.clear()
    for (const controller of this.#running.values()) controller.abort(err)
    this.emit('close')
  }
}

function closedError(): HyperparcelError {
  return new HyperparcelError('CHANNEL_CLOSED', 'The other process closed the connection')
}
