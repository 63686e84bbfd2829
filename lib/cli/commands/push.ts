import type { PushResult } from '../../daemon/api-versions.ts'
import type { CliCommand } from '../command.ts'
import { formatBytes } from '../ui/format.ts'

interface Options {
  to: string
  follow?: boolean
}

export const push: CliCommand = {
  usage: 'push <name>',
  summary: 'have another device fetch all of a parcel, ahead of its use',
  details:
    'Returns when that device has all of the newest version. With --follow it gets each new version, too, as soon as it is made: a standing order, which survives restarts and which `show` and `status` list. It ends with --no-follow, or there with `hoard --no-follow` or `evict`. A device that is not online is told when it is.',
  example: 'hyperparcel push work --to office\nhyperparcel push work --to office --follow',
  options(command) {
    command
      .requiredOption('--to <device>', 'which device')
      .option('--follow', 'from now on each new version, too')
      .option('--no-follow', 'end that; sends nothing')
  },
  async run(context, [name], { to, follow }: Options) {
    const params = { name, to, follow: follow === true, unfollow: follow === false }
    const result = await context.request('push', params)
    return { json: result, text: text(result, follow === false) }
  }
}

function text(result: PushResult, ended: boolean): string {
  const { parcel, to, version, online } = result
  if (ended) {
    return online
      ? `${to} is not sent new versions of ${parcel} any more.`
      : `${to} is told that it follows ${parcel} no more when it is online.`
  }
  if (!online) {
    return `${to} is not online: it gets version ${version} of ${parcel}, and those to come, when it is.`
  }
  const sent = result.bytes_sent === 0 ? '' : `; it lacked ${formatBytes(result.bytes_sent)}`
  const lines = [`${to} has all of version ${version} of ${parcel}${sent}.`]
  if (result.following) lines.push('New versions go there as they are made.')
  return lines.join('\n')
}
