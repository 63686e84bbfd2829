/** Every command, in the order of `--help`. */
import type { CliCommand } from '../command.ts'
import { checkpoint } from './checkpoint.ts'
import { config } from './config.ts'
import { consoleCommand } from './console.ts'
import { create } from './create.ts'
import { daemon } from './daemon.ts'
import { devices } from './devices.ts'
import { dht } from './dht.ts'
import { discard } from './discard.ts'
import { doctor } from './doctor.ts'
import { evict } from './evict.ts'
import { exportVolume } from './export.ts'
import { hoard } from './hoard.ts'
import { init } from './init.ts'
import { invite } from './invite.ts'
import { join } from './join.ts'
import { lease } from './lease.ts'
import { log } from './log.ts'
import { lookaside } from './lookaside.ts'
import { ls } from './ls.ts'
import { poweroff } from './poweroff.ts'
import { prune } from './prune.ts'
import { push } from './push.ts'
import { remove } from './remove.ts'
import { rename } from './rename.ts'
import { resume } from './resume.ts'
import { rollback } from './rollback.ts'
import { serve } from './serve.ts'
import { show } from './show.ts'
import { stats } from './stats.ts'
import { status } from './status.ts'
import { suspend } from './suspend.ts'
import { verify } from './verify.ts'

export const COMMANDS: CliCommand[] = [
  init,
  invite,
  join,
  devices,
  create,
  ls,
  show,
  log,
  resume,
  consoleCommand,
  suspend,
  checkpoint,
  poweroff,
  discard,
  rollback,
  serve,
  exportVolume,
  rename,
  remove,
  verify,
  prune,
  hoard,
  push,
  evict,
  lookaside,
  lease,
  status,
  stats,
  config,
  doctor,
  daemon,
  dht
]

/** Named in the contract, not part of this version: they say so. */
export const LATER = ['devices remove', 'takeover', 'ui', 'view', 'lock', 'unlock', 'recover']
