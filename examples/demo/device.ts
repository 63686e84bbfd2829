/** One device: a home of its own, and the command line as its user types it, each command a process. */
import { spawn } from 'node:child_process'
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { HyperparcelError, type ErrorShape } from '../../lib/base/errors.ts'
import { openHome } from '../../lib/base/paths.ts'
import type { DaemonStatus } from '../../lib/daemon/api.ts'
import { connectDaemon, daemonGone, type DaemonClient } from '../../lib/daemon/client.ts'

export const PROGRAM = fileURLToPath(new URL('../../bin/hyperparcel.js', import.meta.url))
const OUTPUT_CHARS_MAX = 1024 * 1024

export interface Ran<T> {
  result: T
  /** From starting the process to its end. */
  wallMs: number
  /** When it was started, of `performance.now()`. */
  beganMs: number
}

export class Device {
  readonly name: string
  readonly home: string
  readonly #signal: AbortSignal
  readonly #through: string[]
  #client: DaemonClient | null = null

  /** `through`: a program that starts each command, with arguments: `nsenter …`. */
  constructor(name: string, directory: string, signal: AbortSignal, through: string[] = []) {
    this.name = name
    this.home = path.join(directory, name)
    this.#signal = signal
    this.#through = through
  }

  /** `hyperparcel --home … --json ARGS`. Rejects with the error that the command printed. */
  run<T>(...args: string[]): Promise<Ran<T>> {
    this.#signal.throwIfAborted()
    const beganMs = performance.now()
    const command = [process.execPath, PROGRAM, '--home', this.home, '--json', ...args]
    const [program, ...rest] = [...this.#through, ...command]
    const child = spawn(program, rest, {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true // a terminal's Ctrl-C is for the demo, which passes it on
    })
    const interrupt = () => child.kill('SIGINT')
    this.#signal.addEventListener('abort', interrupt, { once: true })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (data: Buffer) => {
      stdout = (stdout + data.toString()).slice(-OUTPUT_CHARS_MAX)
    })
    child.stderr.on('data', (data: Buffer) => {
      stderr = (stderr + data.toString()).slice(-OUTPUT_CHARS_MAX)
    })
    return new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code) => {
        const wallMs = performance.now() - beganMs
        this.#signal.removeEventListener('abort', interrupt)
        const json = lastObject(stdout)
        if (code === 0 && json !== null) {
          resolve({ result: json as T, wallMs, beganMs })
          return
        }
        const error = (json as { error?: ErrorShape } | null)?.error
        const command = `hyperparcel --home ${this.home} ${args[0]}`
        if (this.#signal.aborted) reject(this.#signal.reason as Error)
        else if (error === undefined) reject(failed(`${command}: ${stderr.trim() || code}`))
        else reject(failed(`${command}: ${error.message}`, error))
      })
    })
  }

  /** What the running daemon says of itself, over a connection that stays: takes next to no time. */
  async status(): Promise<DaemonStatus> {
    this.#client ??= await connectDaemon(await openHome(this.home))
    if (this.#client === null) throw daemonGone()
    return this.#client.call('daemon.status', {})
  }

  close(): void {
    this.#client?.close()
    this.#client = null
  }
}

function failed(message: string, error?: ErrorShape): HyperparcelError {
  return new HyperparcelError(error?.code ?? 'COMMAND_FAILED', message, { hint: error?.hint })
}

function lastObject(stdout: string): unknown {
  const line = stdout.trimEnd().split('\n').at(-1) ?? ''
  return line.startsWith('{') ? JSON.parse(line) : null
}
