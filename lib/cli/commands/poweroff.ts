import type { CliCommand } from '../command.ts'

export const poweroff: CliCommand = {
  usage: 'poweroff <name>',
  summary: 'shut the guest down and keep its disk as a version without memory',
  example: 'hyperparcel poweroff work',
  async run(context, [name]) {
    const result = await context.request('poweroff', { name })
    return {
      json: result,
      text: `${result.parcel} is off: version ${result.version}, boots next time.`
    }
  }
}
