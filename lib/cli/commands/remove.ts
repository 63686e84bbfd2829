import type { CliCommand } from '../command.ts'
import { formatBytes } from '../ui/format.ts'

interface Options {
  yes?: boolean
}

export const remove: CliCommand = {
  usage: 'remove <name>',
  summary: 'remove a parcel with all its versions, on all devices',
  details:
    'Takes the lease and removes the parcel from all devices; that cannot be undone. Clones made of it stay whole.',
  example: 'hyperparcel remove old --yes',
  options(command) {
    command.option('--yes', 'do not ask')
  },
  async run(context, [name], options: Options) {
    await context.confirmFor(
      name,
      `This removes ${name} and all its versions, everywhere.`,
      options.yes
    )
    const result = await context.request('remove', { name })
    return {
      json: result,
      text: `${result.parcel} is gone; ${formatBytes(result.bytes_freed)} came back.`
    }
  }
}
