import { HyperparcelError } from '../../base/errors.ts'
import type { CliCommand } from '../command.ts'
import { parseCount } from '../parse.ts'
import { formatBytes } from '../ui/format.ts'

interface Options {
  version?: number
  /** Null without the option. */
  follow?: boolean
}

export const hoard: CliCommand = {
  usage: 'hoard <name>',
  summary: 'fetch all of a parcel to this device, so that it works without a network',
  details:
    'With --follow each new version is fetched too, as soon as it is made, also after a restart: a standing order, which `show` and `status` list. It ends with --no-follow, `evict` or `remove`.',
  example: 'hyperparcel hoard work\nhyperparcel hoard work --follow',
  options(command) {
    command
      .option('--version <n>', 'that version instead of the newest', parseCount(1))
      .option('--follow', 'from now on each new version, too')
      .option('--no-follow', 'end that; fetches nothing')
  },
  async run(context, [name], options: Options) {
    if (options.follow !== undefined && options.version !== undefined) {
      throw new HyperparcelError('USAGE', '--version and --follow exclude each other', {
        hint: 'What is followed is the newest version.'
      })
    }
    const { version, follow } = options
    const params = { name, version, follow: follow === true, unfollow: follow === false }
    const result = await context.request('hoard', params)
    if (follow === false) {
      return { json: result, text: `New versions of ${result.parcel} stay where they are made.` }
    }
    const came = result.bytes_fetched === 0 ? '' : `; ${formatBytes(result.bytes_fetched)} came now`
    const lines = [`All of version ${result.version} of ${result.parcel} is stored here${came}.`]
    if (result.following) lines.push('New versions are fetched as they are made.')
    return { json: result, text: lines.join('\n') }
  }
}
