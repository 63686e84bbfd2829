/** Options of the lab. */
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { HyperparcelError } from '../../lib/base/errors.ts'
import { POLICIES } from './policies.ts'

export const USAGE = `npm run lab -- [--policy NAME]… [--mbps N]… [--row POLICY@MBPS]… [--rounds 1] [--small] [--out DIR] [--keep] [--json]

Resumes a VM over links of given rates between network namespaces on this machine, and compares with what was
published. As root.

  --policy NAME  ${POLICIES.map(({ name }) => name).join(', ')} (all that there are)
  --mbps N       rates of the link, megabits a second (100, 10, 1; 0.1 only where it is named)
  --row P@N      that policy at that rate, instead of all policies at all rates
  --rounds N     each row so often; medians are shown (1)
  --rtt MS       round trip of the link (20)
  --loss N       percent of its frames, each way, that get lost (0)
  --small        a guest with busybox in 192 MB, instead of a Debian in 256 MB with a disk of 4 GiB
  --no-workload  only until the console answers
  --out DIR      the plot and the JSON go there (a new directory below the system's temporary one)
  --keep         leave the homes and their logs when it is over, and say where
  --json         the timeline goes to stderr; the last line of stdout is one JSON object

The guest is built once and kept in $XDG_CACHE_HOME/hyperparcel or ~/.cache/hyperparcel. Everything else is below the
system's temporary directory while the lab runs, about 4 GB. $HYPERPARCEL_DEMO_DIR holds both where it is set.`

const MBPS = [100, 10, 1]

export interface RowPlan {
  policy: string
  mbps: number
}

export interface LabOptions {
  rows: RowPlan[]
  rounds: number
  rttMs: number
  lossPercent: number
  small: boolean
  workload: boolean
  /** Null: a new one. */
  out: string | null
  keep: boolean
  json: boolean
  help: boolean
  /** Everything is below this. */
  directory: string
}

/** Throws `USAGE`. */
export function labOptions(argv: string[], env: NodeJS.ProcessEnv = process.env): LabOptions {
  try {
    const { values } = parseArgs({
      args: argv,
      options: {
        policy: { type: 'string', multiple: true, default: [] },
        mbps: { type: 'string', multiple: true, default: [] },
        row: { type: 'string', multiple: true, default: [] },
        rounds: { type: 'string', default: '1' },
        rtt: { type: 'string', default: '20' },
        loss: { type: 'string', default: '0' },
        small: { type: 'boolean', default: false },
        'no-workload': { type: 'boolean', default: false },
        out: { type: 'string' },
        keep: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false, short: 'h' }
      }
    })
    const { small, keep, json, help } = values
    const rounds = positive('--rounds', values.rounds)
    if (!Number.isInteger(rounds)) throw new Error(`--rounds ${values.rounds} is no whole number`)
    const loss = Number(values.loss)
    if (!(loss >= 0 && loss < 100)) throw new Error(`--loss ${values.loss} is not from 0 to 99`)
    return {
      rows: rowsOf(values),
      rounds,
      rttMs: positive('--rtt', values.rtt),
      lossPercent: loss,
      small,
      workload: !values['no-workload'],
      out: values.out === undefined ? null : path.resolve(values.out),
      keep,
      json,
      help,
      directory: env['HYPERPARCEL_DEMO_DIR'] || os.tmpdir()
    }
  } catch (err) {
    throw new HyperparcelError('USAGE', (err as Error).message, { hint: USAGE, cause: err })
  }
}

function rowsOf(values: { policy: string[]; mbps: string[]; row: string[] }): RowPlan[] {
  if (values.row.length > 0) {
    return values.row.map((text) => {
      const [policy, mbps] = text.split('@')
      return { policy: known(policy), mbps: positive('--row', mbps) }
    })
  }
  const policies =
    values.policy.length > 0 ? values.policy.map(known) : POLICIES.map(({ name }) => name)
  const rates = values.mbps.length > 0 ? values.mbps.map((text) => positive('--mbps', text)) : MBPS
  return policies.flatMap((policy) => rates.map((mbps) => ({ policy, mbps })))
}

function known(name: string): string {
  if (POLICIES.some((policy) => policy.name === name)) return name
  throw new Error(`There is no policy ${name}`)
}

function positive(name: string, text: string | undefined): number {
  const value = Number(text)
  if (Number.isFinite(value) && value > 0) return value
  throw new Error(`${name} ${text ?? ''} is not a number above 0`)
}
