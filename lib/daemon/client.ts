/**
 * The other end of the daemon's socket: connects, starts a daemon in the background where none runs, and gives
 * `call` its types. Several clients may start one at the same moment: one daemon wins, all get to it.
 */
import { spawn } from 'node:child_process'
import { open, readFile, rename, stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../base/clock.ts'
import { HyperparcelError, type ErrorShape } from '../base/errors.ts'
import { DAEMON_MALLOC, NODE_ARGUMENTS } from '../base/node-process.ts'
import type { HomePaths } from '../base/paths.ts'
import { Channel } from '../ipc/channel.ts'
import { connectUnix } from '../ipc/endpoint.ts'
import type { ApiEvent, MethodName, Params, Result } from './api.ts'

const START_TIMEOUT_MS = 60_000
const POLL_MS = 20
const LOG_BYTES_MAX = 8 * 1024 * 1024

export interface ClientCallOptions {
  /** Aborting cancels the method, see `METHODS` for what that means. */
  signal?: AbortSignal
  /** After that its answer still counts for that long. */
  settleMs?: number
  onevent?: (event: ApiEvent) => void
}

export class DaemonClient {
  /** Resolves when the daemon is gone, or after `close`. */
  readonly closed: Promise<void>
  readonly #channel: Channel
  readonly #explain: () => Promise<HyperparcelError | null>

  /** `explain` finds the error that the daemon ended with, where it can be known. */
  constructor(
    channel: Channel,
    explain: () => Promise<HyperparcelError | null> = () => Promise.resolve(null)
  ) {
    this.#channel = channel
    this.#explain = explain
    this.closed = new Promise((resolve) => channel.once('close', () => resolve()))
  }

  /** Rejects with the daemon's error, with `DAEMON_GONE`, or with the signal's reason. */
  async call<M extends MethodName>(
    method: M,
    params: Params<M>,
    opts: ClientCallOptions = {}
  ): Promise<Result<M>> {
    const onevent = opts.onevent as ((json: unknown) => void) | undefined
    const { signal, settleMs } = opts
    try {
      return await this.#channel.call<Result<M>>(method, params, { signal, settleMs, onevent })
    } catch (err) {
      if ((err as { code?: string }).code !== 'CHANNEL_CLOSED') throw err
      throw (await this.#explain()) ?? daemonGone(err)
    }
  }

  close(): void {
    this.#channel.close()
  }
}

export function daemonGone(cause?: unknown): HyperparcelError {
  return new HyperparcelError('DAEMON_GONE', 'The daemon ended before it was done', {
    hint: 'Try again: it is started anew. Its log is daemon.log in the home.',
    cause
  })
}

/** A client of the daemon that runs on this home, or null where none does. */
export async function connectDaemon(
  paths: HomePaths,
  explain?: () => Promise<HyperparcelError | null>
): Promise<DaemonClient | null> {
  try {
    return new DaemonClient(new Channel(await connectUnix(paths.daemonSocket)), explain)
  } catch (err) {
    const code = (err as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return null
    throw new HyperparcelError(
      'DAEMON_UNREACHABLE',
      `The daemon's socket ${paths.daemonSocket} does not answer: ${(err as Error).message}`,
      { cause: err }
    )
  }
}

export interface StartOptions {
  /** Program and arguments before `--home`; this very program by default. */
  program?: string[]
  signal?: AbortSignal
}

/**
 * As `connectDaemon`, but starts one in the background where none runs. Rejects with the error that ended the
 * new daemon, or with `DAEMON_START_FAILED`.
 */
export async function connectOrStartDaemon(
  paths: HomePaths,
  opts: StartOptions = {}
): Promise<DaemonClient> {
  const running = await connectDaemon(paths)
  if (running !== null) return running
  const { exited, logFrom } = await spawnDaemon(paths, opts.program ?? thisProgram())
  const deadline = systemClock.monotonic() + START_TIMEOUT_MS
  for (;;) {
    const ended = exited()
    // It listens before it is ready, and drops us when it fails then.
    const client = await connectDaemon(paths, async () => {
      for (let i = 0; exited() === null && i < 100; i++) await systemClock.sleep(POLL_MS)
      return exited() === null ? null : loggedError(paths, logFrom)
    })
    if (client !== null) return client
    if (ended !== null) {
      const err = await startError(paths, logFrom, ended)
      // Lost the race against another new daemon, whose socket is about to answer.
      if (err.code !== 'SOCKET_IN_USE' && err.code !== 'DAEMON_RUNNING') throw err
    }
    if (systemClock.monotonic() > deadline) {
      throw new HyperparcelError('DAEMON_START_FAILED', 'The daemon did not answer in time', {
        hint: `See ${paths.daemonLog}.`
      })
    }
    await systemClock.sleep(POLL_MS, opts.signal)
  }
}

interface Spawned {
  /** Null while it runs, else how it ended. */
  exited(): string | null
  /** Where its part of the log begins. */
  logFrom: number
}

async function spawnDaemon(paths: HomePaths, program: string[]): Promise<Spawned> {
  const size = await stat(paths.daemonLog).then(
    (found) => found.size,
    () => 0
  )
  if (size > LOG_BYTES_MAX) await rename(paths.daemonLog, `${paths.daemonLog}.1`)
  const log = await open(paths.daemonLog, 'a', 0o600)
  try {
    const logFrom = (await log.stat()).size
    const child = spawn(
      program[0],
      [...program.slice(1), '--home', paths.home, '--json', 'daemon', 'run'],
      {
        cwd: '/',
        env: { ...process.env, ...DAEMON_MALLOC },
        detached: true,
        stdio: ['ignore', log.fd, log.fd]
      }
    )
    let ended: string | null = null
    child.once('error', (err) => (ended = err.message))
    child.once('exit', (code, signal) => (ended = signal ?? `exit code ${code}`))
    child.unref()
    return { exited: () => ended, logFrom }
  } finally {
    await log.close()
  }
}

async function startError(
  paths: HomePaths,
  logFrom: number,
  ended: string
): Promise<HyperparcelError> {
  const coded = await loggedError(paths, logFrom)
  if (coded !== null) return coded
  const last = (await logLines(paths, logFrom)).at(-1) ?? ''
  return new HyperparcelError(
    'DAEMON_START_FAILED',
    `The daemon did not start: ${last === '' ? ended : last}`,
    { hint: `See ${paths.daemonLog}.` }
  )
}

/** The last error that the daemon printed, from its log. */
async function loggedError(paths: HomePaths, logFrom: number): Promise<HyperparcelError | null> {
  for (const line of (await logLines(paths, logFrom)).toReversed()) {
    const shape = errorIn(line)
    if (shape !== null) return HyperparcelError.fromJSON(shape)
  }
  return null
}

async function logLines(paths: HomePaths, from: number): Promise<string[]> {
  return (await readFile(paths.daemonLog)).subarray(from).toString().trimEnd().split('\n')
}

function errorIn(line: string): ErrorShape | null {
  if (!line.startsWith('{"error":')) return null
  try {
    return (JSON.parse(line) as { error: ErrorShape }).error
  } catch {
    return null
  }
}

function thisProgram(): string[] {
  const main = fileURLToPath(new URL('../../bin/hyperparcel.js', import.meta.url))
  return [process.execPath, ...NODE_ARGUMENTS, main]
}
