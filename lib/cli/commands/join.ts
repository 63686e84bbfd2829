import { HyperparcelError } from '../../base/errors.ts'
import type { CliCommand } from '../command.ts'
import type { Context } from '../context.ts'
import { networkOptions, networkParams, type NetworkOptions } from '../network-options.ts'
import { parseSize } from '../parse.ts'
import { shortKey } from '../ui/format.ts'

interface Options extends NetworkOptions {
  name?: string
  quota?: number
}

export const join: CliCommand = {
  usage: 'join <invite>',
  summary: 'make this machine a device (or a cache) of a fleet',
  details:
    'Takes the invite that `hyperparcel invite` printed on a device of the fleet; that device must be online. `-` reads the invite from standard input. The invite of a cache needs --quota; one home may be the cache of several fleets, with a quota for each.',
  example: 'hyperparcel join INVITE --name office',
  options(command) {
    command
      .option('--name <device>', "this device's name (the host's name by default)")
      .option('--quota <size>', 'for a cache: how much it stores at most', parseSize)
    networkOptions(command)
  },
  async run(context, [given], options: Options) {
    const invite = given === '-' ? await readLine(context) : given
    const result = await context.request('join', {
      invite,
      device: options.name,
      quotaBytes: options.quota,
      ...networkParams(options)
    })
    const lines = [
      `This machine is now the ${result.role} ${result.device} of the fleet ${shortKey(result.fleet)}.`
    ]
    if (options.name !== undefined && options.name !== result.device) {
      lines.push(`The fleet has another device called ${options.name}, so this one got a new name.`)
    }
    return { json: result, text: lines.join('\n') }
  }
}

async function readLine(context: Context): Promise<string> {
  let text = ''
  for await (const piece of context.io.stdin) {
    text += String(piece)
    if (text.includes('\n') || text.length > 4096) break
  }
  const line = text.split('\n')[0].trim()
  if (line !== '') return line
  throw new HyperparcelError('USAGE', 'No invite came on standard input')
}
