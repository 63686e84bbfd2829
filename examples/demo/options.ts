/** Options of the demo. */
import os from 'node:os'
import { parseArgs } from 'node:util'
import { HyperparcelError } from '../../lib/base/errors.ts'

export const USAGE = `npm run demo -- [--memory 512M] [--keep] [--json]

Two devices on this machine: a VM is suspended on one and resumed on the other, and back.

  --memory SIZE  memory of the VM (512M)
  --keep         leave both homes and their logs when it is over, and say where
  --json         the timeline goes to stderr; the last line of stdout is one JSON object

The guest is built once and kept in $XDG_CACHE_HOME/hyperparcel or ~/.cache/hyperparcel. Everything else is below the
system's temporary directory while the demo runs. $HYPERPARCEL_DEMO_DIR holds both where it is set.

Only root may capture traffic: without root it is not searched for pieces of the guest, files are.`

export interface DemoOptions {
  memory: string
  keep: boolean
  json: boolean
  help: boolean
  /** Everything is below this. */
  directory: string
}

/** Throws `USAGE`. */
export function demoOptions(argv: string[], env: NodeJS.ProcessEnv = process.env): DemoOptions {
  const directory = env['HYPERPARCEL_DEMO_DIR'] || os.tmpdir()
  try {
    const { values } = parseArgs({
      args: argv,
      options: {
        memory: { type: 'string', default: '512M' },
        keep: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false, short: 'h' }
      }
    })
    return { ...values, directory }
  } catch (err) {
    throw new HyperparcelError('USAGE', (err as Error).message, { hint: USAGE, cause: err })
  }
}
