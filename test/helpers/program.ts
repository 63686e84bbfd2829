/** The command line as a real process: its output as it comes, signals, its end. */
import { spawn } from 'node:child_process'
import { PROGRAM } from './cli.ts'

export interface ProgramOptions {
  cwd?: string
  env?: NodeJS.ProcessEnv
  /** Written to its standard input, which then ends. */
  input?: string
  /** A program that starts it, with arguments: `setpriv …`. */
  through?: string[]
}

export interface ProgramRun {
  code: number
  stdout: string
  stderr: string
  /** The last line of stdout as JSON. */
  json: Record<string, unknown>
  /** Of that, where it failed. */
  error: { code: string; message: string; hint?: string; context?: Record<string, unknown> } | null
}

export interface Program {
  pid: number
  done: Promise<ProgramRun>
  /** Resolves when stdout or stderr has that text; rejects when it ended before. */
  saw(text: string): Promise<void>
  /** First line of stdout as JSON, when it is there. */
  first(): Promise<Record<string, unknown>>
  kill(signal: NodeJS.Signals): void
  /** SIGINT, as Ctrl-C, and its end. */
  interrupt(): Promise<ProgramRun>
  /** SIGKILL unless it ended. */
  end(): Promise<void>
}

export function startProgram(args: string[], opts: ProgramOptions = {}): Program {
  const command = [...(opts.through ?? []), process.execPath, PROGRAM, ...args]
  const child = spawn(command[0], command.slice(1), {
    cwd: opts.cwd,
    env: { ...process.env, ...opts.env },
    stdio: ['pipe', 'pipe', 'pipe']
  })
  child.stdin.on('error', () => {}) // it may end before it reads
  child.stdin.end(opts.input)
  const output = { stdout: '', stderr: '' }
  const watchers = new Set<() => void>()
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].on('data', (data: Buffer) => {
      output[name] += data.toString()
      for (const watch of watchers) watch()
    })
  }
  let ended = false
  const done = new Promise<ProgramRun>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      ended = true
      for (const watch of watchers) watch()
      const json = lastJson(output.stdout)
      const error = (json['error'] ?? null) as ProgramRun['error']
      resolve({ code: code ?? (signal === null ? -1 : -2), ...output, json, error })
    })
  })

  const when = (condition: () => boolean, what: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const watch = () => {
        if (condition()) resolve()
        else if (ended)
          reject(new Error(`It ended without ${what}: ${output.stdout}${output.stderr}`))
        else return
        watchers.delete(watch)
      }
      watchers.add(watch)
      watch()
    })

  return {
    pid: child.pid!,
    done,
    saw: (text) => when(() => (output.stdout + output.stderr).includes(text), text),
    async first() {
      await when(() => output.stdout.includes('\n'), 'a line')
      return JSON.parse(output.stdout.split('\n')[0]) as Record<string, unknown>
    },
    kill: (signal) => void child.kill(signal),
    interrupt() {
      child.kill('SIGINT')
      return done
    },
    async end() {
      if (!ended) child.kill('SIGKILL')
      await done.catch(() => {})
    }
  }
}

function lastJson(text: string): Record<string, unknown> {
  const line = text.trimEnd().split('\n').at(-1) ?? ''
  return line.startsWith('{') ? (JSON.parse(line) as Record<string, unknown>) : {}
}
