/**
 * One test file in a process of its own. Every process that descends from it inherits a mark in its
 * environment, so whatever it leaves behind is found, named and ended, even when it left the process group.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { summarizeTap, type TapSummary } from './tap.ts'

const PROJECT = path.resolve(import.meta.dirname, '../../..')
const MARK = 'HYPERPARCEL_TEST_MARK'
const OUTPUT_BYTES_MAX = 4 * 1024 * 1024
/** For a test that says nothing else. Brittle's own 30 s are little where other tests run on the same two cores. */
const TEST_TIMEOUT_MS = 120_000
/** Daemons that were asked to end may need a moment. */
const SETTLE_MS = 2000

export interface FileResult extends TapSummary {
  output: string
  /** Why the file failed, beyond its failed tests. */
  reasons: string[]
  /** Command lines of processes that outlived it. */
  leftBehind: string[]
  durationMs: number
}

const brittle = createRequire(import.meta.url).resolve('brittle/brittle-node.js')
const running = new Set<string>()

export async function runFile(file: string, timeoutMs: number): Promise<FileResult> {
  const mark = randomBytes(8).toString('hex')
  running.add(mark)
  const started = performance.now()
  const options = ['--timeout', String(TEST_TIMEOUT_MS)]
  const child = spawn(process.execPath, [brittle, ...options, path.relative(PROJECT, file)], {
    // Brittle takes patterns below the working directory only.
    cwd: PROJECT,
    env: { ...process.env, [MARK]: mark },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true
  })
  const chunks: Buffer[] = []
  let outputBytes = 0
  const collect = (data: Buffer) => {
    outputBytes += data.byteLength
    if (outputBytes <= OUTPUT_BYTES_MAX) chunks.push(data)
  }
  child.stdout.on('data', collect)
  child.stderr.on('data', collect)

  const reasons: string[] = []
  const timer = setTimeout(() => {
    reasons.push(`stopped after ${timeoutMs / 1000} s`)
    endMarked(mark)
  }, timeoutMs)
  const exit = await new Promise<string | number | null>((resolve) => {
    child.once('error', (err) => resolve(err.message))
    child.once('exit', (code, signal) => resolve(code ?? signal))
  })
  clearTimeout(timer)

  const leftBehind = await settle(mark)
  child.stdout.destroy()
  child.stderr.destroy()
  running.delete(mark)
  const output = Buffer.concat(chunks).toString()
  const summary = summarizeTap(output)
  if (outputBytes > OUTPUT_BYTES_MAX)
    reasons.push(`printed ${outputBytes} bytes, the rest was dropped`)
  if (exit !== 0)
    reasons.push(`ended with ${typeof exit === 'number' ? `exit code ${exit}` : exit}`)
  if (!summary.complete) reasons.push('ended before all tests had run')
  if (!summary.complete || (exit !== 0 && summary.failed === 0)) summary.failed++
  const durationMs = performance.now() - started
  return { ...summary, output, reasons, leftBehind, durationMs }
}

/** Ends everything that runs now, for an interrupted run. */
export function endGroup(): void {
  for (const mark of running) endMarked(mark)
}

async function settle(mark: string): Promise<string[]> {
  const deadline = performance.now() + SETTLE_MS
  while (marked(mark).length > 0 && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return endMarked(mark)
}

function endMarked(mark: string): string[] {
  return marked(mark).map((pid) => {
    const command = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim()
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // gone already
    }
    return `${pid} ${command.slice(0, 200)}`
  })
}

function marked(mark: string): number[] {
  const needle = `${MARK}=${mark}`
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && mayHang(pid) === false)
    .filter((pid) => read(`/proc/${pid}/environ`).includes(needle))
}

/** The kernel lets nobody read the memory of a VMM that waits for a page of guest RAM. Its runner has no mark anyway. */
function mayHang(pid: number): boolean {
  return read(`/proc/${pid}/comm`).startsWith('qemu-system')
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}
