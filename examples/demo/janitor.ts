/**
 * A process that outlives the demo when somebody kills it, and then cleans up after it. It learns the directory
 * over its stdin; a line `done` says that there is nothing left to do.
 */
import { spawn } from 'node:child_process'
import type { Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { cleanUp } from './clean-up.ts'

const SELF = fileURLToPath(import.meta.url)

interface Orders {
  directory: string
  keep: boolean
}

export class Janitor {
  readonly #stdin: Writable

  constructor(orders: Orders) {
    const child = spawn(process.execPath, [SELF], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true
    })
    child.unref()
    child.on('error', () => {})
    this.#stdin = child.stdin
    this.#stdin.on('error', () => {})
    this.#stdin.write(`${JSON.stringify(orders)}\n`)
  }

  /** Everything is clean: it may go. */
  dismiss(): void {
    this.#stdin.end('done\n')
  }
}

if (process.argv[1] === SELF) {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  const [first, second] = (await text(process.stdin)).split('\n')
  if (second !== 'done') {
    const { directory, keep } = JSON.parse(first) as Orders
    await cleanUp(directory, keep)
  }
}
