/**
 * A runner process as the daemon handles it: started, or found again after a restart of the daemon.
 * The socket's place tells everything; no pid file can be stale.
 */
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../../base/clock.ts'
import { HyperparcelError } from '../../base/errors.ts'
import { Channel, type CallOptions, type Handlers } from '../../ipc/channel.ts'
import type { RunnerApi } from '../../runner/protocol.ts'
import { unmountBelow } from '../../vmm/qemu/mounts.ts'
import { spawnRunner } from './spawn-runner.ts'
import type { Standby } from './standby.ts'

const START_TIMEOUT_MS = 15_000
const POLL_MS = 4
const MAIN = fileURLToPath(new URL('../../runner/main.js', import.meta.url))
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

/**
 * Starts a runner whose socket is in `runDirectory`.
 * @param standby becomes that runner where it is ready
 */
export async function startRunner(
  runDirectory: string,
  logFile: string,
  handlers: Handlers,
  standby: Standby | null = null
): Promise<RunnerProcess> {
  await mkdir(runDirectory, { recursive: true, mode: 0o700 })
  await mkdir(path.dirname(logFile), { recursive: true, mode: 0o700 })
  const socket = path.join(runDirectory, RUNNER_SOCKET)
  await rm(socket, { force: true })
  await unmountBelow(runDirectory) // FUSE's helpers miss a mount of a runner that was killed, at times
  const child =
    (await standby?.become(socket, logFile)) ?? (await spawnRunner(MAIN, socket, logFile))
  const deadline = systemClock.monotonic() + START_TIMEOUT_MS
  for (;;) {
    const runner = await connectRunner(runDirectory, handlers)
    if (runner !== null) return runner
    if (child.ended !== null || systemClock.monotonic() > deadline) {
      throw new HyperparcelError(
        'RUNNER_FAILED',
        `The process for the parcel did not start: ${child.ended ?? 'no answer'}`,
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
