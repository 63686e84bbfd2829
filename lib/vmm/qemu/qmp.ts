/**
 * A client of the QEMU Machine Protocol: JSON objects, one a line, over a private socket.
 * Answers are matched by id; events go to one listener. When the socket closes every call rejects.
 *
 * QEMU answers from its main loop, which stands still while the VM waits for a page: no call without a limit,
 * unless its caller brings one.
 */
import type { Duplex } from 'node:stream'
import { HyperparcelError } from '../../base/errors.ts'

const LINE_BYTES_MAX = 16 * 1024 * 1024
const CALL_TIMEOUT_MS = 20_000
/** A QEMU that starts reads from its disks, and waits where their data is still on its way. */
const READY_TIMEOUT_MS = 120_000

export interface QmpEvent {
  event: string
  data: Record<string, unknown>
}

interface QmpMessage {
  QMP?: unknown
  id?: number
  return?: unknown
  error?: { class: string; desc: string }
  event?: string
  data?: Record<string, unknown>
}

interface Pending {
  command: string
  resolve(value: unknown): void
  reject(err: Error): void
  timer: NodeJS.Timeout | null
}

export class Qmp {
  readonly #socket: Duplex
  readonly #onevent: (event: QmpEvent) => void
  readonly #pending = new Map<number, Pending>()
  readonly #greeting: Promise<void>
  #greeted: (() => void) | null = null
  #parts: Buffer[] = []
  #partBytes = 0
  #nextId = 1
  #closed = false
  /** Resolves when the socket is gone. */
  readonly closed: Promise<void>

  constructor(socket: Duplex, onevent: (event: QmpEvent) => void) {
    this.#socket = socket
    this.#onevent = onevent
    this.#greeting = new Promise((resolve) => (this.#greeted = resolve))
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#onclose()
        resolve()
      })
    })
    socket.on('error', () => {})
    socket.on('data', (data: Buffer) => this.#ondata(data))
  }

  /** Greets and negotiates; resolves false when the socket closed before. */
  async ready(): Promise<boolean> {
    const open = await Promise.race([
      this.#greeting.then(() => true),
      this.closed.then(() => false)
    ])
    if (open) await this.execute('qmp_capabilities', {}, READY_TIMEOUT_MS)
    return open
  }

  /** Rejects with `VMM_FAILED` (refused, or the VMM is gone) or `VMM_UNRESPONSIVE`. `timeoutMs` 0: no limit. */
  execute<T = unknown>(
    command: string,
    args: Record<string, unknown> = {},
    timeoutMs = CALL_TIMEOUT_MS
  ): Promise<T> {
    if (this.#closed) return Promise.reject(gone(command))
    const id = this.#nextId++
    return new Promise<T>((resolve, reject) => {
      const expire = () => {
        this.#pending.delete(id)
        reject(
          new HyperparcelError('VMM_UNRESPONSIVE', `QEMU did not answer ${command} in time`, {
            hint: 'A VM that waits for data cannot answer: see whether its peers are online.'
          })
        )
      }
      const timer = timeoutMs === 0 ? null : setTimeout(expire, timeoutMs)
      this.#pending.set(id, { command, resolve: resolve, reject, timer })
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`)
    })
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #ondata(data: Buffer): void {
    let start = 0
    for (;;) {
      const end = data.indexOf(0x0a, start)
      if (end === -1) break
      this.#parts.push(data.subarray(start, end))
      const line = Buffer.concat(this.#parts).toString('utf8')
      this.#parts = []
      this.#partBytes = 0
      this.#online(line)
      start = end + 1
    }
    if (start === data.length) return
    this.#parts.push(data.subarray(start))
    this.#partBytes += data.length - start
    if (this.#partBytes > LINE_BYTES_MAX) {
      this.#socket.destroy(new HyperparcelError('VMM_FAILED', 'A line of QMP is too long'))
    }
  }

  #online(line: string): void {
    let message: QmpMessage
    try {
      message = JSON.parse(line) as QmpMessage
    } catch (err) {
      this.#socket.destroy(err as Error)
      return
    }
    if (message.QMP !== undefined) this.#greeted?.()
    else if (message.event !== undefined) {
      this.#onevent({ event: message.event, data: message.data ?? {} })
    } else if (message.id !== undefined) this.#onanswer(message.id, message)
  }

  #onanswer(id: number, message: QmpMessage): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return // it came too late
    this.#pending.delete(id)
    if (pending.timer !== null) clearTimeout(pending.timer)
    if (message.error === undefined) pending.resolve(message.return)
    else {
      const said = `QEMU refused ${pending.command}: ${message.error.desc}`
      pending.reject(new HyperparcelError('VMM_FAILED', said))
    }
  }

  #onclose(): void {
    this.#closed = true
    for (const pending of this.#pending.values()) {
      if (pending.timer !== null) clearTimeout(pending.timer)
      pending.reject(gone(pending.command))
    }
    this.#pending.clear()
  }
}

function gone(command: string): HyperparcelError {
  return new HyperparcelError('VMM_FAILED', `QEMU ended before it answered ${command}`)
}
