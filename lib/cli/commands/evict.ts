import type { CliCommand } from '../command.ts'
import { formatBytes } from '../ui/format.ts'

interface Options {
  yes?: boolean
}

export const evict: CliCommand = {
  usage: 'evict <name>',
  summary: 'drop what is stored here of a parcel, where another device has it',
  details:
    'Gives the disk space back. The parcel stays, and its data is fetched again when it is needed. Refuses to drop the last copy: a connected device must have all of each version that is stored here.',
  example: 'hyperparcel evict work --yes',
  options(command) {
    command.option('--yes', 'do not ask')
  },
  async run(context, [name], options: Options) {
    await context.confirmFor(
      name,
      `This drops the data of ${name} on this device; it needs others from then on.`,
      options.yes
    )
    const result = await context.request('evict', { name })
    const text = `Gave ${formatBytes(result.bytes_freed)} back; ${formatBytes(result.bytes_missing)} of ${result.parcel} are only on other devices now.`
    return { json: result, text }
  }
}
