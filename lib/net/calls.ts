/**
 * Requests between devices of a fleet over one connection: JSON and raw bytes, answered once, never retried here.
 * Sizes are capped by the codecs, time and number by this file.
 */
import { HyperparcelError, type ErrorShape } from '../base/errors.ts'
import type { CALL_MESSAGES } from '../format/call.ts'
import { type CallAnswer, type CallRequest } from '../format/call.ts'
import type { MessageChannel } from './channel.ts'

/** Calls of one peer that run here at once; more are refused. */
const RUNNING_MAX = 64
const EMPTY = Buffer.alloc(0)

export interface PeerContext {
  /** Public key of the device that asks: proven by the connection. */
  peer: Buffer
  /** Raw bytes that came with the call; owned by the handler. */
  attachment: Buffer
  /** Aborts when the caller gives up or is gone. */
  signal: AbortSignal
}

/** Parameters come from a peer: check them. The result is any JSON value, or a `PeerReply` when bytes go with it. */
export type PeerHandler = (params: unknown, context: PeerContext) => unknown
export type PeerHandlers = Record<string, PeerHandler>

export class PeerReply {
  readonly json: unknown
  readonly attachment: Buffer
  constructor(json: unknown, attachment: Buffer) {
    this.json = json
    this.attachment = attachment
  }
}

interface Pending {
  resolve(reply: PeerReply): void
  reject(err: unknown): void
}

export type CallChannel = MessageChannel<typeof CALL_MESSAGES>

/** The calls of one connection, in both directions. */
export class PeerCalls {
  readonly #peer: Buffer
  readonly #channel: CallChannel
  readonly #handlers: PeerHandlers
  readonly #pending = new Map<number, Pending>()
  readonly #running = new Map<number, AbortController>()
  #nextId = 1
  #closed = false

  constructor(peer: Buffer, channel: CallChannel, handlers: PeerHandlers) {
    this.#peer = peer
    this.#channel = channel
    this.#handlers = handlers
  }

  /** No call is under way, in either direction. */
  get idle(): boolean {
    return this.#pending.size === 0 && this.#running.size === 0
  }

  /** Rejects with the far side's error, with `PEER_UNREACHABLE` when it goes away, or with the signal's reason. */
  async call(
    method: string,
    params: unknown,
    attachment: Buffer,
    signal: AbortSignal
  ): Promise<PeerReply> {
    signal.throwIfAborted()
    if (this.#closed) throw unreachable()
    const id = this.#nextId++
    return new Promise<PeerReply>((resolve, reject) => {
      const onabort = () => {
        if (!this.#pending.delete(id)) return
        if (!this.#channel.closed) this.#channel.send.cancel({ id })
        reject(signal.reason as Error)
      }
      const settle = () => signal.removeEventListener('abort', onabort)
      signal.addEventListener('abort', onabort, { once: true })
      this.#pending.set(id, {
        resolve: (reply) => (settle(), resolve(reply)),
        reject: (err) => (settle(), reject(err))
      })
      const json = JSON.stringify(params ?? null)
      this.#channel.send.request({ id, method, json, attachment })
    })
  }

  onrequest(request: CallRequest): void {
    void this.#serve({ ...request, attachment: Buffer.from(request.attachment) })
  }

  onanswer(answer: CallAnswer): void {
    const pending = this.#pending.get(answer.id)
    if (pending === undefined) return
    this.#pending.delete(answer.id)
    const json = parse(answer.json)
    if (answer.ok) pending.resolve(new PeerReply(json, Buffer.from(answer.attachment)))
    else pending.reject(HyperparcelError.fromJSON(errorShape(json)))
  }

  oncancel(id: number): void {
    this.#running.get(id)?.abort(new HyperparcelError('INTERRUPTED', 'The caller gave up waiting'))
  }

  close(): void {
    this.#closed = true
    for (const pending of this.#pending.values()) pending.reject(unreachable())
    this.#pending.clear()
    for (const controller of this.#running.values()) controller.abort(unreachable())
  }

  async #serve({ id, method, json, attachment }: CallRequest): Promise<void> {
    let ok = true
    let reply = new PeerReply(null, EMPTY)
    try {
      if (this.#running.size >= RUNNING_MAX || this.#running.has(id)) {
        throw new HyperparcelError('BUSY', 'Too many calls at once')
      }
      const handler = Object.hasOwn(this.#handlers, method) ? this.#handlers[method] : undefined
      if (handler === undefined) {
        throw new HyperparcelError(
          'UNKNOWN_METHOD',
          `There is no method ${method} on that device`,
          {
            hint: 'The two devices may run different versions of Hyperparcel.'
          }
        )
      }
      const controller = new AbortController()
      this.#running.set(id, controller)
      try {
        const params = parse(json)
        const { signal } = controller
        const result = await handler(params, { peer: this.#peer, attachment, signal })
        reply = result instanceof PeerReply ? result : new PeerReply(result ?? null, EMPTY)
      } finally {
        this.#running.delete(id)
      }
    } catch (err) {
      ok = false
      reply = new PeerReply(HyperparcelError.from(err).toJSON(), EMPTY)
    }
    if (this.#closed) return
    this.#channel.send.answer({
      id,
      ok,
      json: JSON.stringify(reply.json),
      attachment: reply.attachment
    })
  }
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json) as unknown
  } catch (cause) {
    throw new HyperparcelError('FORMAT_INVALID', 'A peer sent something that is no JSON', { cause })
  }
}

function errorShape(json: unknown): ErrorShape {
  const { code, message, hint } = (json ?? {}) as Record<string, unknown>
  return {
    code: typeof code === 'string' ? code : 'INTERNAL',
    message: typeof message === 'string' ? message : 'The other device failed',
    hint: typeof hint === 'string' ? hint : undefined
  }
}

export function unreachable(): HyperparcelError {
  return new HyperparcelError('PEER_UNREACHABLE', 'The other device is not reachable', {
    hint: 'Is it switched on, with its daemon running and a network in common?'
  })
}
