import { Option } from 'commander'
import type { FetchMode } from '../../daemon/api.ts'
import type { CliCommand } from '../command.ts'
import { parseCount } from '../parse.ts'
import { settled } from '../settled.ts'
import { formatBytes, formatDuration } from '../ui/format.ts'

interface Options {
  version?: number
  fetch?: FetchMode
  offline?: boolean
  reboot?: boolean
  handoff?: boolean
  fromCrash?: 'version' | 'disk'
}

export const resume: CliCommand = {
  usage: 'resume <name>',
  summary: 'continue a parcel on this device',
  details:
    'Takes the lease, starts the VM from its newest version and returns when its CPUs run; what is missing is fetched when the guest touches it.',
  example: 'hyperparcel resume work\nhyperparcel resume work --handoff',
  options(command) {
    command
      .option('--version <n>', 'that version instead of the newest', parseCount(1))
      .addOption(
        new Option(
          '--fetch <what>',
          'what comes in the background besides what the guest touches: demand: nothing; all, the default: the rest of the version; working-set: as all, for now'
        ).choices(['demand', 'working-set', 'all'])
      )
      .option('--offline', 'use only what is stored here')
      .option('--reboot', 'boot where the memory image cannot be used')
      .option('--handoff', 'ask the device that runs it to suspend it first')
      .addOption(
        new Option(
          '--from-crash <what>',
          'after a crash: the last version, or a boot from the disk'
        ).choices(['version', 'disk'])
      )
  },
  async run(context, [name], options: Options) {
    const result = await settled(context, 'resume', { name, ...options })
    const names = result.sources.map(({ name: source, bytes }) => `${source} ${formatBytes(bytes)}`)
    const from = names.length === 0 ? '' : ` (${names.join(', ')})`
    const how = result.booted ? 'boots' : 'runs'
    const text = [
      `${result.parcel} ${how} (version ${result.version}) after ${formatDuration(result.resume_ms)}; ${formatBytes(result.bytes_fetched)} fetched so far${from}.`,
      `Console: ${context.typed(`console ${result.parcel}`)}`,
      `Screen:  ${result.vnc} (VNC over a Unix socket)`
    ]
    if (result.damaged_bytes > 0) {
      text.push(
        `${formatBytes(result.damaged_bytes)} of its disks are damaged here: reading them fails until the guest writes them again.`
      )
    }
    return { json: result, text: text.join('\n') }
  }
}
