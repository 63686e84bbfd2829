/**
 * Requests in both directions over one Unix socket: CLI ↔ daemon, daemon ↔ runner.
 *
 * A request has a JSON part and raw attachments, may report events while it runs (progress) and may be
 * cancelled; both sides may ask. Nothing is retried here: when the socket closes, every pending call
 * rejects with `CHANNEL_CLOSED` and every running handler's signal aborts.
 *
 * Backpressure: calls and answers wait for `drain` before they write, so a slow reader holds its writers back;
 * a far side that has too many requests under way gets errors. Malformed frames cost the connection, nothing else.
 */
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { HyperparcelError, type ErrorShape } from '../base/errors.ts'
import { connectUnix } from './endpoint.ts'
import { FRAME, FrameParser, writeFrame, type Frame } from './frame.ts'

/** Requests of the far side under way at once. */
const RUNNING_MAX = 4096
/** A far side that leaves that much unread is dropped. */
const UNREAD_BYTES_MAX = 128 * 1024 * 1024

export interface RequestContext {
  /** Raw bytes that came with the request; owned by the handler. */
  attachment: Buffer
  /** Gives the memory of a large attachment back, for the next one. Nobody looks at it any more. */
  recycle(): void
  /** Aborts when the caller cancels or is gone. */
  signal: AbortSignal
  /** Sends one event to the caller, until the handler ends. */
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
  /** After a cancel the far side's answer still counts for that long; 0 (the default) rejects at once. */
  settleMs?: number
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
  readonly #parser = new FrameParser((frame) => this.#onframe(frame))

  constructor(socket: Socket, handlers: Handlers = {}) {
    super()
    this.setMaxListeners(0)
    this.socket = socket
    this.#handlers = handlers
    socket.on('data', (data: Buffer) => this.#push(data))
    socket.on('error', () => {})
    socket.on('close', () => this.#onclose())
  }

  /** A channel to whoever listens at `path`; rejects as `connectUnix` does. For channels on which much arrives. */
  static async connect(path: string, handlers: Handlers = {}): Promise<Channel> {
    let channel: Channel | null = null
    const early: Buffer[] = []
    const socket = await connectUnix(path, (data) => {
      if (channel === null) early.push(Buffer.from(data))
      else channel.#push(data)
    })
    channel = new Channel(socket, handlers)
    for (const data of early) channel.#push(data)
    return channel
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
    while (this.socket.writableNeedDrain && !this.#closed) await this.#drained()
    if (this.#closed) throw closedError()
    opts.signal?.throwIfAborted()
    const id = this.#nextId
    this.#nextId = (id + 1) >>> 0 || 1
    const answer = new Promise<Answer<unknown>>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, onevent: opts.onevent })
    })
    const { settleMs = 0 } = opts
    let settling: NodeJS.Timeout | undefined
    const oncancel = () => {
      const pending = this.#pending.get(id)
      if (pending === undefined) return
      this.#send(FRAME.CANCEL, id, undefined)
      const giveUp = () => {
        this.#pending.delete(id)
        pending.reject(opts.signal!.reason as Error)
      }
      if (settleMs === 0) giveUp()
      else settling = setTimeout(giveUp, settleMs)
    }
    opts.signal?.addEventListener('abort', oncancel, { once: true })
    try {
      writeFrame(this.socket, FRAME.REQUEST, id, { method, params }, opts.attachments)
      return (await answer) as Answer<T>
    } finally {
      clearTimeout(settling)
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

  #push(data: Buffer): void {
    try {
      this.#parser.push(data)
    } catch (err) {
      this.socket.destroy(err as Error)
    }
  }

  #onframe(frame: Frame): void {
    if (this.socket.destroyed) return
    switch (frame.kind) {
      case FRAME.REQUEST:
        void this.#serve(frame.id, requestOf(frame), frame.attachment) // never rejects
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
        this.#pending.get(frame.id)?.reject(errorOf(frame))
        return
      case FRAME.EVENT:
        this.#pending.get(frame.id)?.onevent?.(frame.json)
        return
      default:
        throw malformed(`A frame has the unknown kind ${frame.kind}`)
    }
  }

  async #serve(id: number, { method, params }: Request, attachment: Buffer): Promise<void> {
    const controller = new AbortController()
    const known = this.#running.has(id)
    try {
      if (known) throw malformed('A request has the id of another one')
      if (this.#running.size >= RUNNING_MAX) {
        throw new HyperparcelError('TOO_MANY_REQUESTS', 'Too many requests are under way')
      }
      this.#running.set(id, controller)
      const handler = Object.hasOwn(this.#handlers, method) ? this.#handlers[method] : undefined
      if (handler === undefined) {
        throw new HyperparcelError('UNKNOWN_METHOD', `There is no method ${method} here`, {
          hint: 'The two programs may be of different versions: stop the daemon and try again.'
        })
      }
      const result = await handler(params, {
        attachment,
        recycle: () => this.#parser.recycle(attachment),
        signal: controller.signal,
        event: (json) => {
          if (this.#running.get(id) === controller) this.#send(FRAME.EVENT, id, json)
        }
      })
      while (this.socket.writableNeedDrain && !this.#closed) await this.#drained()
      const reply = result instanceof Reply ? result : new Reply(result ?? null, [])
      this.#send(FRAME.RESPONSE, id, reply.json, reply.attachments)
    } catch (err) {
      if (known) this.socket.destroy(err as Error)
      else this.#sendError(id, err)
    } finally {
      if (this.#running.get(id) === controller) this.#running.delete(id)
    }
  }

  #send(kind: number, id: number, json: unknown, attachments?: Buffer[]): void {
    const { socket } = this
    if (this.#closed || !socket.writable) return
    if (socket.writableLength > UNREAD_BYTES_MAX) socket.destroy()
    else writeFrame(socket, kind, id, json, attachments)
  }

  #sendError(id: number, err: unknown): void {
    const { code, message, hint, context } = HyperparcelError.from(err)
    try {
      this.#send(FRAME.ERROR, id, { code, message, hint, context })
    } catch {
      // The context cannot be sent.
      this.#send(FRAME.ERROR, id, { code, message: message.slice(0, 1000) })
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

interface Request {
  method: string
  params: unknown
}

function requestOf({ json }: Frame): Request {
  const { method, params } = (json ?? {}) as { method?: unknown; params?: unknown }
  if (typeof method !== 'string') throw malformed('A request names no method')
  return { method, params }
}

function errorOf({ json }: Frame): HyperparcelError {
  const { code, message } = (json ?? {}) as { code?: unknown; message?: unknown }
  if (typeof code !== 'string' || typeof message !== 'string') {
    throw malformed('An error has no code or no message')
  }
  return HyperparcelError.fromJSON(json as ErrorShape)
}

function malformed(message: string): HyperparcelError {
  return new HyperparcelError('FORMAT_INVALID', message)
}
