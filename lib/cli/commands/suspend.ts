import type { CliCommand } from '../command.ts'
import { parseCount } from '../parse.ts'
import { warnOfLowSpace } from '../low-space.ts'
import { settled } from '../settled.ts'
import { heldText, snapshotText } from '../snapshot-text.ts'

interface Options {
  to?: string
  message?: string
  waitReplicas?: number
}

export const suspend: CliCommand = {
  usage: 'suspend <name>',
  summary: 'stop a running parcel and keep all of it as a version',
  details:
    'Returns when the version is durable on this device. What of it is not stored here yet is fetched first, while the guest runs on. With --to, a parcel that is suspended here already only gives its lease.',
  example: 'hyperparcel suspend work --to office -m "end of the day"',
  options(command) {
    command
      .option(
        '--to <device>',
        'grant the lease to that device, so that this one may be switched off'
      )
      .option('-m, --message <text>', 'a note for the log')
      .option(
        '--wait-replicas <n>',
        'return when that many other devices hold all of it; they are asked to',
        parseCount(0)
      )
  },
  async run(context, [name], options: Options) {
    const result = await settled(context, 'suspend', { name, ...options })
    const lines = [
      result.already_suspended === true
        ? `${result.parcel} is suspended already: version ${result.version}; ${heldText(result.replicas)}.`
        : `Suspended ${result.parcel}: ${snapshotText(result, result.suspend_ms)}`
    ]
    if (options.to !== undefined && result.lease_delivered === true) {
      lines.push(
        result.replicas > 0
          ? `${options.to} has the lease: this device may be switched off.`
          : `${options.to} has the lease and fetches the data. Before this device is switched off, wait for that: \`hyperparcel suspend ${result.parcel} --to ${options.to} --wait-replicas 1\`.`
      )
    } else if (options.to !== undefined) {
      lines.push(`${options.to} was not reached: it gets the lease when both are online.`)
    }
    warnOfLowSpace(context, result.low_space)
    return { json: result, text: lines.join('\n') }
  }
}
