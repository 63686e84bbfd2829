/** Second processes for tests: a script next to the tests, lines on its stdout, ended with the test. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Assert } from 'brittle'

export class Child {
  readonly process: ChildProcess
  readonly #lines: string[] = []
  readonly #waiting: (() => void)[] = []
  #ended = false

  constructor(process: ChildProcess) {
    this.process = process
    const wake = () => {
      for (const resolve of this.#waiting.splice(0)) resolve()
    }
    createInterface({ input: process.stdout! }).on('line', (line) => {
      this.#lines.push(line)
      wake()
    })
    process.on('exit', () => {
      this.#ended = true
      wake()
    })
  }

  /** Its next line. Rejects when it ended. */
  async line(): Promise<string> {
    while (this.#lines.length === 0) {
      if (this.#ended) throw new Error('The process ended')
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    return this.#lines.shift()!
  }

  say(line: string): void {
    this.process.stdin!.write(line + '\n')
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.#ended) return
    const exit = once(this.process, 'exit')
    this.process.kill(signal)
    await exit
  }
}

/** Starts `test/helpers/<script>.ts`, compiled. */
export function startChild(t: Assert, script: string, ...args: string[]): Child {
  const file = fileURLToPath(new URL(`./${script}.js`, import.meta.url))
  const child = new Child(
    spawn(process.execPath, [file, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  )
  t.teardown(() => child.end('SIGKILL'), { force: true, order: -2 })
  return child
}
