/** Options of the soak. */
import os from 'node:os'
import { parseArgs } from 'node:util'
import { HyperparcelError } from '../../lib/base/errors.ts'
import type { WorkSize } from './guest-work.ts'

export const USAGE = `npm run soak -- [--rounds 20] [--seconds 8] [--guest debian|small] [--memory 512M] [--cpus 2] [--keep] [--json]

A VM goes back and forth between two devices on this machine while it compiles; nothing may get lost or grow.

  --rounds N     suspends and resumes (20)
  --seconds N    that the VM works between two of them, at least (8)
  --guest NAME   debian: a whole Debian that compiles with gcc; small: busybox, which compresses (debian)
  --files N      that one build makes (40)
  --memory SIZE  of the VM (512M)
  --cpus N       of the VM (2)
  --secret N     MiB of random data in the VM's RAM (64)
  --keep         leave both homes and their logs when it is over, and say where
  --json         the timeline goes to stderr; the last line of stdout is one JSON object

The guest is built once and kept in $XDG_CACHE_HOME/hyperparcel or ~/.cache/hyperparcel. Everything else is below the
system's temporary directory while the soak runs, about 6 GB. $HYPERPARCEL_DEMO_DIR holds both where it is set.`

export interface SoakOptions {
  rounds: number
  workMs: number
  guest: 'debian' | 'small'
  memory: string
  cpus: number
  size: WorkSize
  keep: boolean
  json: boolean
  help: boolean
  /** Everything is below this. */
  directory: string
}

/** Throws `USAGE`. */
export function soakOptions(argv: string[], env: NodeJS.ProcessEnv = process.env): SoakOptions {
  try {
    const { values } = parseArgs({
      args: argv,
      options: {
        rounds: { type: 'string', default: '20' },
        seconds: { type: 'string', default: '8' },
        guest: { type: 'string', default: 'debian' },
        files: { type: 'string', default: '40' },
        memory: { type: 'string', default: '512M' },
        cpus: { type: 'string', default: '2' },
        secret: { type: 'string', default: '64' },
        keep: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false, short: 'h' }
      }
    })
    const { guest, memory, keep, json, help } = values
    if (guest !== 'debian' && guest !== 'small') throw new Error(`There is no guest ${guest}`)
    return {
      rounds: count('--rounds', values.rounds),
      workMs: count('--seconds', values.seconds) * 1000,
      guest,
      memory,
      cpus: count('--cpus', values.cpus),
      size: {
        work: guest === 'debian' ? 'compile' : 'compress',
        files: count('--files', values.files),
        secretMib: count('--secret', values.secret)
      },
      keep,
      json,
      help,
      directory: env['HYPERPARCEL_DEMO_DIR'] || os.tmpdir()
    }
  } catch (err) {
    throw new HyperparcelError('USAGE', (err as Error).message, { hint: USAGE, cause: err })
  }
}

function count(name: string, text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value > 0) return value
  throw new Error(`${name} ${text} is not a number of at least 1`)
}
