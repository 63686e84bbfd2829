/**
 * A guest's serial console with a shell, for tests and the demo. Connects by itself, and again when the VM was suspended
 * meanwhile: a command that was running then goes on in the guest, and so does waiting for its end.
 */
import { connect, type Socket } from 'node:net'
import { randomBytes } from 'node:crypto'
import { HyperparcelError } from '../../lib/base/errors.ts'

const RECONNECT_MS = 20
const CONNECT_POLL_MS = 2
const GREET_AGAIN_MS = 1000
const TEXT_CHARS_MAX = 4 * 1024 * 1024

export interface RunOptions {
  timeoutMs?: number
}

export class SerialConsole {
  readonly #path: string
  #socket: Socket | null = null
  #retry: NodeJS.Timeout | null = null
  #text = ''
  #watch: (() => void) | null = null
  #closed = false
  #busy: Promise<unknown> = Promise.resolve()

  constructor(socketPath: string) {
    this.#path = socketPath
    this.#connect()
  }

  /** What the guest wrote lately. */
  get text(): string {
    return this.#text
  }

  /**
   * Runs a shell command; resolves with its output, without the last newline. Rejects with `CONSOLE_TIMEOUT`, or
   * `COMMAND_FAILED` when its exit code is not 0. Commands run one after the other.
   */
  run(command: string, opts: RunOptions = {}): Promise<string> {
    const end = performance.now() + (opts.timeoutMs ?? 30_000)
    const result = this.#busy.then(() => this.#run(command, end))
    this.#busy = result.catch(() => {})
    return result
  }

  /** Resolves when a shell answers. */
  async ready(timeoutMs = 60_000): Promise<void> {
    const end = performance.now() + timeoutMs
    const result = this.#busy.then(() => this.#greet(end))
    this.#busy = result.catch(() => {})
    return result
  }

  close(): void {
    this.#closed = true
    if (this.#retry !== null) clearTimeout(this.#retry)
    this.#socket?.destroy()
  }

  async #run(command: string, end: number): Promise<string> {
    await this.#greet(end)
    const id = randomBytes(6).toString('hex')
    const from = this.#text.length
    // quotes keep the marks out of the echo of this very line; one line, so that no echo gets into the output
    const quoted = `'${command.replaceAll("'", `'\\''`)}'`
    this.#write(`echo "<"b${id}">"; eval ${quoted}; echo "<"e${id} $?">"\n`)
    const pattern = new RegExp(`<b${id}>\\r?\\n([\\s\\S]*?)<e${id} (\\d+)>`)
    const match = await this.#match(pattern, from, end, command)
    const output = match[1].replaceAll('\r', '').replace(/\n$/, '')
    if (match[2] === '0') return output
    throw new HyperparcelError('COMMAND_FAILED', `${command}: exit code ${match[2]}: ${output}`)
  }

  /** Something that may be repeated, until it is answered: the first bytes after a boot or a resume may get lost. */
  async #greet(end: number): Promise<void> {
    const id = randomBytes(6).toString('hex')
    const from = this.#text.length
    for (;;) {
      await this.#connected(end)
      this.#write(`\x15echo "<"g${id}">"\n`)
      const until = Math.min(end, performance.now() + GREET_AGAIN_MS)
      try {
        await this.#match(new RegExp(`<g${id}>`), from, until, 'a greeting')
        return
      } catch (err) {
        if (this.#closed || performance.now() >= end) throw err
      }
    }
  }

  async #connected(end: number): Promise<void> {
    while (this.#socket === null && performance.now() < end && !this.#closed) {
      await new Promise((resolve) => setTimeout(resolve, CONNECT_POLL_MS))
    }
  }

  #match(pattern: RegExp, from: number, end: number, what: string): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => {
          this.#watch = null
          const seen = JSON.stringify(this.#text.slice(-200))
          reject(new HyperparcelError('CONSOLE_TIMEOUT', `No answer to ${what}; last: ${seen}`))
        },
        Math.max(0, end - performance.now())
      )
      this.#watch = () => {
        const found = pattern.exec(this.#text.slice(from))
        if (found === null) return
        clearTimeout(timer)
        this.#watch = null
        resolve(found)
      }
      this.#watch()
    })
  }

  #write(text: string): void {
    this.#socket?.write(text)
  }

  #connect(): void {
    const socket = connect(this.#path)
    socket.on('connect', () => (this.#socket = socket))
    socket.on('data', (data: Buffer) => {
      this.#text += data.toString('latin1')
      if (this.#text.length > TEXT_CHARS_MAX) throw new Error('the console wrote too much')
      this.#watch?.()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      this.#socket = null
      if (!this.#closed) this.#retry = setTimeout(() => this.#connect(), RECONNECT_MS)
    })
  }
}
