/** Starts a program of ours as a runner: a process of its own session, with its log, without core dumps. */
import { spawn, type ChildProcess, type StdioNull, type StdioPipe } from 'node:child_process'
import { open } from 'node:fs/promises'
import { FAULT_ENVIRONMENT } from '../../base/fault-point.ts'
import { NODE_ARGUMENTS, RUNNER_MALLOC } from '../../base/node-process.ts'

export interface SpawnedRunner {
  process: ChildProcess
  /** How it ended; null while it runs. */
  ended: string | null
}

/** @param argument the program's only one */
export async function spawnRunner(
  program: string,
  argument: string,
  logFile: string,
  stdin: StdioNull | StdioPipe = 'ignore'
): Promise<SpawnedRunner> {
  const log = await open(logFile, 'a', 0o600)
  try {
    // No core dumps, they would hold plaintext; with 1 the kernel refuses piped ones too, see core(5).
    const command = [process.execPath, ...NODE_ARGUMENTS, program, argument]
    const child = spawn('prlimit', ['--core=1:1', '--', ...command], {
      cwd: '/',
      detached: true,
      stdio: [stdin, log.fd, log.fd],
      env: {
        ...RUNNER_MALLOC,
        ...FAULT_ENVIRONMENT,
        PATH: process.env['PATH'],
        UV_THREADPOOL_SIZE: '8'
      }
    })
    const spawned: SpawnedRunner = { process: child, ended: null }
    child.once('error', (err) => (spawned.ended = err.message))
    child.once('exit', (code, signal) => (spawned.ended = signal ?? `exit code ${code}`))
    child.unref()
    return spawned
  } finally {
    await log.close()
  }
}
