/**
 * A client of the QEMU guest agent inside the guest (QEMU's qga-schema): JSON lines over a virtio-serial port. What it
 * says comes from the guest and is not trusted: bounded, and only matched against what we asked.
 *
 * The port may hold a half of an older exchange (it does after a resume), so each call starts with
 * `guest-sync-delimited`, whose answer begins with byte 0xFF.
 */
import type { Duplex } from 'node:stream'
import { randomInt } from 'node:crypto'
import { HyperparcelError } from '../../base/errors.ts'

const ANSWER_BYTES_MAX = 64 * 1024

export class GuestAgent {
  readonly #socket: Duplex
  #received = Buffer.alloc(0)
  #wake: (() => void) | null = null
  #busy: Promise<unknown> = Promise.resolve()

  constructor(socket: Duplex) {
    this.#socket = socket
    socket.on('error', () => {})
    socket.on('data', (data: Buffer) => {
      this.#received = Buffer.concat([this.#received, data]).subarray(-ANSWER_BYTES_MAX)
      this.#wake?.()
    })
  }

  /**
   * `request` is a JSON text, so that 64-bit numbers survive, or makes one when the agent is found to listen.
   * Rejects with `GUEST_AGENT_FAILED`.
   */
  call(request: string | (() => string), timeoutMs: number): Promise<unknown> {
    const result = this.#busy.then(() => this.#exchange(request, timeoutMs))
    this.#busy = result.catch(() => {})
    return result
  }

  async #exchange(request: string | (() => string), timeoutMs: number): Promise<unknown> {
    const end = performance.now() + timeoutMs
    const id = randomInt(1, 2 ** 31)
    this.#received = Buffer.alloc(0)
    this.#socket.write(Buffer.from([0xff])) // the agent's parser forgets what came before
    this.#socket.write(`{"execute":"guest-sync-delimited","arguments":{"id":${id}}}\n`)
    for (;;) {
      const line = await this.#line(end)
      const mark = line.lastIndexOf(0xff)
      if (mark !== -1 && parse(line.subarray(mark + 1)).return === id) break
    }
    this.#socket.write(`${typeof request === 'string' ? request : request()}\n`)
    const answer = parse(await this.#line(end))
    if (answer.error !== undefined) throw failed(`it refused: ${String(answer.error.desc)}`)
    return answer.return
  }

  async #line(end: number): Promise<Buffer> {
    for (;;) {
      const newline = this.#received.indexOf(0x0a)
      if (newline !== -1) {
        const line = this.#received.subarray(0, newline)
        this.#received = this.#received.subarray(newline + 1)
        return line
      }
      const left = end - performance.now()
      if (left <= 0) throw failed('it did not answer in time')
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      this.#wake = null
    }
  }
}

function parse(line: Buffer): { return?: unknown; error?: { desc?: unknown } } {
  try {
    const value = JSON.parse(line.toString('utf8')) as unknown
    return typeof value === 'object' && value !== null ? value : {}
  } catch {
    return {}
  }
}

function failed(why: string): HyperparcelError {
  return new HyperparcelError('GUEST_AGENT_FAILED', `The guest agent did not help: ${why}`)
}
