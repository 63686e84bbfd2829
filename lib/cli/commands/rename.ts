import type { CliCommand } from '../command.ts'

export const rename: CliCommand = {
  usage: 'rename <name> <new-name>',
  summary: 'give a parcel another name, on all devices',
  example: 'hyperparcel rename work archive',
  async run(context, [name, to]) {
    const result = await context.request('rename', { name, to })
    return { json: result, text: `${name} is now called ${result.parcel}.` }
  }
}
