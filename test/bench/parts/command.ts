/** Programs of others, timed. */
import { spawn } from 'node:child_process'
import { cpuSecondsOfCommands } from './cpu.ts'

const OUTPUT_MAX = 64 * 1024

export interface Timed {
  wallSeconds: number
  cpuSeconds: number
  stdout: string
}

export interface CommandOptions {
  cwd?: string
  env?: NodeJS.ProcessEnv
  signal?: AbortSignal
}

/** Rejects with what it wrote unless it ends with 0. One at a time, for the CPU figure. */
export async function timed(command: string[], opts: CommandOptions = {}): Promise<Timed> {
  opts.signal?.throwIfAborted()
  const cpuBefore = cpuSecondsOfCommands()
  const began = performance.now()
  const stdout = await output(command, opts)
  const wallSeconds = (performance.now() - began) / 1000
  return { wallSeconds, cpuSeconds: cpuSecondsOfCommands() - cpuBefore, stdout }
}

function output([program, ...args]: string[], opts: CommandOptions): Promise<string> {
  const { cwd, signal } = opts
  const env = { ...process.env, LC_ALL: 'C.UTF-8', ...opts.env }
  const child = spawn(program, args, { cwd, env, signal, stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  let err = ''
  child.stdout.on('data', (data: Buffer) => (out = (out + data.toString()).slice(-OUTPUT_MAX)))
  child.stderr.on('data', (data: Buffer) => (err = (err + data.toString()).slice(-OUTPUT_MAX)))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve(out)
      else reject(new Error(`${program} ended with ${code}: ${err.trim() || out.trim()}`))
    })
  })
}
