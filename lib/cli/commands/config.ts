import type { CliCommand } from '../command.ts'
import { formatFields } from '../ui/format.ts'

export const config: CliCommand = {
  usage: 'config [key] [value]',
  summary: 'show or change the settings of this device',
  details: [
    'Settings: bootstrap, lan, lan_interfaces; and for transfers in the background, over all devices together:',
    '  down, up   what they may take: a rate (10Mbit, 500kbit), a share of what is measured (50%), or unlimited',
    '  metered    true: nothing in the background at all',
    'What a running VM waits for, and what a resume streams, always passes. Changes count at once.'
  ].join('\n'),
  example: 'hyperparcel config down 10Mbit',
  async run(context, [key, value]) {
    const result = await context.request('config', { key, value })
    const fields = Object.entries(result.config).map(([name, set]): [string, string] => [
      name,
      typeof set === 'string' ? set : JSON.stringify(set)
    ])
    return { json: result, text: formatFields(fields) }
  }
}
