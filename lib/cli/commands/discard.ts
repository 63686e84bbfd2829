import type { CliCommand } from '../command.ts'

interface Options {
  yes?: boolean
}

export const discard: CliCommand = {
  usage: 'discard <name>',
  summary: 'drop everything since the last version',
  details:
    'Ends the VM at once, if it runs, and drops what it changed since its last version. That cannot be undone.',
  example: 'hyperparcel discard work --yes',
  options(command) {
    command.option('--yes', 'do not ask')
  },
  async run(context, [name], options: Options) {
    await context.confirmFor(
      name,
      `This drops everything that happened in ${name} since its last version.`,
      options.yes
    )
    const result = await context.request('discard', { name })
    return { json: result, text: `${result.parcel} is back at version ${result.version}.` }
  }
}
