/** One daemon, from its start to its end, on one home. */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../base/errors.ts'
import { tryLock } from '../base/lock.ts'
import type { Logger } from '../base/logger.ts'
import type { HomePaths } from '../base/paths.ts'
import { listenUnix } from '../ipc/endpoint.ts'
import type { DaemonStatus, NetworkParams } from './api.ts'
import { serveClient } from './api-server.ts'
import { Daemon } from './daemon.ts'
import { daemonStatus } from './use-cases/status.ts'

export interface DaemonOptions {
  paths: HomePaths
  /** Given on the command line; stored for later daemons. Absent fields: as stored. */
  network: NetworkParams
  logger: Logger
  /** Aborts when the daemon shall end (SIGINT, SIGTERM). */
  signal: AbortSignal
  /** Called once, when the socket answers. */
  onready(status: DaemonStatus): void
}

/** Resolves when the daemon has ended, by the signal or by `daemon.stop`. Rejects with `DAEMON_RUNNING` when another one has this home. */
export async function runDaemon(opts: DaemonOptions): Promise<void> {
  const { paths } = opts
  const lock = tryLock(path.join(paths.home, 'daemon.lock'))
  if (lock === null) {
    throw new HyperparcelError('DAEMON_RUNNING', `A daemon runs on ${paths.home} already`, {
      hint: 'One home has one daemon. `hyperparcel daemon stop` ends it.'
    })
  }
  try {
    await run(opts)
  } finally {
    lock.release()
  }
}

async function run({ paths, network, logger, signal, onready }: DaemonOptions): Promise<void> {
  const daemon = new Daemon(paths, logger)
  await daemon.ready()
  await daemon.config.set({ bootstrap: network.bootstrap, lan: network.lan })
  // Clients may connect at once; they are served when the fleet is open.
  let settle: (ok: boolean) => void
  const opened = new Promise<boolean>((resolve) => (settle = resolve))
  const server = await listenUnix(paths.daemonSocket, (socket) => {
    socket.pause()
    void opened.then((ok) => (ok ? serveClient(daemon, socket.resume()) : socket.destroy()))
  })
  const end = new Promise<void>((resolve) => {
    daemon.once('stop', resolve)
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
  try {
    await daemon.openFleet()
    settle!(true)
    const status = daemonStatus(daemon)
    logger.info({ pid: status.pid, device: status.device }, 'The daemon is ready')
    onready(status)
    await end
  } catch (err) {
    settle!(false)
    throw err
  } finally {
    server.close()
    await daemon.close()
    await rm(paths.daemonSocket, { force: true })
    logger.info({}, 'The daemon has ended')
  }
}
