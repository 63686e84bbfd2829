import type { CliCommand } from '../command.ts'
import { formatFields } from '../ui/format.ts'

export const config: CliCommand = {
  usage: 'config [key] [value]',
  summary: 'show or change the settings of this device',
  example: 'hyperparcel config',
  async run(context, [key, value]) {
    const result = await context.request('config', { key, value })
    const fields = Object.entries(result.config).map(([name, set]): [string, string] => [
      name,
      typeof set === 'string' ? set : JSON.stringify(set)
    ])
    return { json: result, text: formatFields(fields) }
  }
}
