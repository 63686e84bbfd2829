/** Runs the command line in this process, with its own streams, or as a process of its own. */
import { spawn } from 'node:child_process'
import { PassThrough } from 'node:stream'
import path from 'node:path'
import { systemClock } from '../../lib/base/clock.ts'
import { HyperparcelError } from '../../lib/base/errors.ts'
import type { Io } from '../../lib/cli/context.ts'
import { main } from '../../lib/cli/main.ts'
import { ROOT } from './sources.ts'

export interface CliRun {
  code: number
  stdout: string
  stderr: string
  /** The last line of stdout as JSON. */
  json: Record<string, unknown>
}

export interface CliOptions {
  input?: string
  env?: NodeJS.ProcessEnv
  terminal?: boolean
}

export interface RunningCli {
  /** All of stdout so far. */
  stdout(): string
  stderr(): string
  /** Resolves when stdout or stderr has it. */
  saw(text: string): Promise<void>
  /** As Ctrl-C. */
  interrupt(): void
  done: Promise<CliRun>
}

export function runCli(argv: string[], opts: CliOptions = {}): Promise<CliRun> {
  return startCli(argv, opts).done
}

export function startCli(argv: string[], opts: CliOptions = {}): RunningCli {
  const output = { stdout: '', stderr: '' }
  const waiting: { text: string; resolve: () => void }[] = []
  const writer = (name: 'stdout' | 'stderr') => ({
    isTTY: opts.terminal === true,
    columns: 100,
    write(data: string | Uint8Array) {
      output[name] += typeof data === 'string' ? data : Buffer.from(data).toString()
      for (const { text, resolve } of waiting) if (has(text)) resolve()
    }
  })
  const has = (text: string) => output.stdout.includes(text) || output.stderr.includes(text)
  const stdin = new PassThrough()
  if (opts.input !== undefined) stdin.end(opts.input)
  const io: Io = {
    stdin,
    stdout: writer('stdout'),
    stderr: writer('stderr'),
    env: { HOME: '/nonexistent', ...opts.env },
    cwd: '/images',
    clock: systemClock
  }
  const controller = new AbortController()
  const done = main(argv, io, { signal: controller.signal, close() {} }).then((code) => ({
    code,
    ...output,
    json: lastJson(output.stdout)
  }))
  return {
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    saw: (text) =>
      new Promise((resolve) => {
        if (has(text)) resolve()
        else waiting.push({ text, resolve })
      }),
    interrupt: () => controller.abort(new HyperparcelError('INTERRUPTED', 'Interrupted')),
    done
  }
}

export const PROGRAM = path.join(ROOT, 'dist/bin/hyperparcel.js')

/** The real program as a process. */
export function spawnCli(argv: string[], env: NodeJS.ProcessEnv = {}): Promise<CliRun> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, ...argv], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe']
    })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (data: Buffer) => (stdout += data.toString()))
    child.stderr.on('data', (data: Buffer) => (stderr += data.toString()))
    child.once('error', reject)
    child.once('close', (code) =>
      resolve({ code: code ?? -1, stdout, stderr, json: lastJson(stdout) })
    )
  })
}

function lastJson(text: string): Record<string, unknown> {
  const line = text.trimEnd().split('\n').at(-1) ?? ''
  return line.startsWith('{') ? (JSON.parse(line) as Record<string, unknown>) : {}
}
