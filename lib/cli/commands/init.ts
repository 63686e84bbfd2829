import type { CliCommand } from '../command.ts'
import { networkOptions, networkParams, type NetworkOptions } from '../network-options.ts'
import { formatFields, shortKey } from '../ui/format.ts'

interface Options extends NetworkOptions {
  name?: string
}

export const init: CliCommand = {
  usage: 'init',
  summary: 'start a fleet with this machine as its first device',
  details:
    'Makes the keys of a new device and a new fleet, and prints the recovery phrase once: it is stored nowhere.',
  example: 'hyperparcel init --name home',
  options(command) {
    command.option('--name <device>', "this device's name (the host's name by default)")
    networkOptions(command)
  },
  async run(context, _args, options: Options) {
    const params = { device: options.name, ...networkParams(options) }
    const result = await context.request('init', params)
    const text = [
      formatFields([
        ['device', result.device],
        ['fleet', shortKey(result.fleet)]
      ]),
      '',
      'Recovery phrase: write it down on paper. It is shown this once, and whoever has it has everything.',
      '',
      `  ${result.recovery_phrase}`,
      '',
      `Next: \`${context.typed('invite')}\` here, then \`hyperparcel join INVITE\` on another machine.`
    ]
    return { json: result, text: text.join('\n') }
  }
}
