/** One daemon, from its start to its end, on one home. */
import { HyperparcelError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { HomePaths } from '../base/paths.ts'
import type { DaemonStatus, NetworkParams } from './api.ts'

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
export function runDaemon(_opts: DaemonOptions): Promise<void> {
  return Promise.reject(
    new HyperparcelError('NOT_IMPLEMENTED', 'The daemon is not part of this build yet')
  )
}
