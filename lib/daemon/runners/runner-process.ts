/**
 * A runner process as the daemon handles it: started, or found again after a restart of the daemon.
 * The socket's place tells everything; no pid file can be stale.
 */
import { spawn } from 'node:child_process'
import { mkdir, open, rm } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../../base/clock.ts'
import { HyperparcelError } from '../../base/errors.ts'
import { FAULT_ENVIRONMENT } from '../../base/fault-point.ts'
import { NODE_ARGUMENTS, RUNNER_MALLOC } from '../../base/node-process.ts'
import { Channel, type CallOptions, type Handlers } from '../../ipc/channel.ts'
import type { RunnerApi } from '../../runner/protocol.ts'
import { unmountBelow } from '../../vmm/qemu/mounts.ts'

const START_TIMEOUT_MS = 15_000
const POLL_MS = 4
const PROGRAM = fileURLToPath(new URL('../../runner/main.js', import.meta.url))
export const RUNNER_SOCKET = 'runner.sock'

export class RunnerProcess {
  readonly channel: Channel

  constructor(channel: Channel) {
    this.channel = channel
  }

  /** Rejects with the runner's error, or with `RUNNER_GONE` when it ended. */
  async call<M extends keyof RunnerApi>(
    method: M,
    params: RunnerApi[M]['params'],
    opts: CallOptions = {}
  ): Promise<RunnerApi[M]['result']> {
    try {
      return await this.channel.call<RunnerApi[M]['result']>(method, params, opts)
    } catch (err) {
      if ((err as { code?: string }).code !== 'CHANNEL_CLOSED') throw err
      throw new HyperparcelError('RUNNER_GONE', 'The process that serves the parcel ended', {
        hint: 'Try again. What the guest flushed to its disk is kept.',
        cause: err
      })
    }
  }
}

/** Starts a runner whose socket is in `runDirectory`. */
export async function startRunner(
  runDirectory: string,
  logFile: string,
  handlers: Handlers
): Promise<RunnerProcess> {
  await mkdir(runDirectory, { recursive: true, mode: 0o700 })
  await mkdir(path.dirname(logFile), { recursive: true, mode: 0o700 })
  const socket = path.join(runDirectory, RUNNER_SOCKET)
  await rm(socket, { force: true })
  await unmountBelow(runDirectory) // FUSE's helpers miss a mount of a runner that was killed, at times
  const log = await open(logFile, 'a', 0o600)
  let ended: string | null = null
  try {
    // No core dumps, they would hold plaintext; with 1 the kernel refuses piped ones too, see core(5).
    const program = [process.execPath, ...NODE_ARGUMENTS, PROGRAM, socket]
    const child = spawn('prlimit', ['--core=1:1', '--', ...program], {
      cwd: '/',
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      env: {
        ...RUNNER_MALLOC,
        ...FAULT_ENVIRONMENT,
        PATH: process.env['PATH'],
        UV_THREADPOOL_SIZE: '8'
      }
    })
    child.once('error', (err) => (ended = err.message))
    child.once('exit', (code, signal) => (ended = signal ?? `exit code ${code}`))
    child.unref()
  } finally {
    await log.close()
  }
  const deadline = systemClock.monotonic() + START_TIMEOUT_MS
  for (;;) {
    const runner = await connectRunner(runDirectory, handlers)
    if (runner !== null) return runner
    if (ended !== null || systemClock.monotonic() > deadline) {
      throw new HyperparcelError(
        'RUNNER_FAILED',
        `The process for the parcel did not start: ${ended ?? 'no answer'}`,
        { hint: `See ${logFile}.` }
      )
    }
    await systemClock.sleep(POLL_MS)
  }
}

/** The runner whose socket is in that directory, or null. */
export async function connectRunner(
  runDirectory: string,
  handlers: Handlers
): Promise<RunnerProcess | null> {
  try {
    const socket = path.join(runDirectory, RUNNER_SOCKET)
    return new RunnerProcess(await Channel.connect(socket, handlers))
  } catch {
    return null
  }
}
