import type { ServeResult } from '../../daemon/api.ts'
import type { CliCommand } from '../command.ts'
import type { Context } from '../context.ts'
import { parseCount } from '../parse.ts'
import { formatFields } from '../ui/format.ts'

interface Options {
  version?: number
  writable?: boolean
}

export const serve: CliCommand = {
  usage: 'serve <name>',
  summary: 'serve the volumes of a parcel over NBD, without a VM',
  details:
    'Prints the NBD address of each volume at once, and serves until interrupted (Ctrl-C). With --writable it takes the lease and makes a version of what was written at the end. With --json the addresses come at once as one line, and with --writable a second, last line has the version too.',
  example:
    'hyperparcel serve work    # prints an address and serves; then, in another terminal:\nnbdinfo "nbd+unix:///?socket=…/disk0.nbd"',
  options(command) {
    command
      .option('--version <n>', 'that version instead of the newest', parseCount(1))
      .option('--writable', 'allow writes, and keep them as a new version')
  },
  async run(context, [name], options: Options) {
    const writable = options.writable === true
    const served = await context.request('serve', { name, version: options.version, writable })
    announce(context, served)
    await context.interrupted()
    // A second Ctrl-C ends this program: the daemon then does the same by itself.
    const { version } = await context.request(
      'serve.stop',
      { session: served.session },
      { signal: new AbortController().signal }
    )
    if (!writable) return { json: null, text: '' }
    return {
      json: { parcel: served.parcel, volumes: served.volumes, version },
      text: version === served.version ? 'Nothing was written.' : `Kept as version ${version}.`
    }
  }
}

function announce(context: Context, served: ServeResult): void {
  const { parcel, version, volumes } = served
  if (context.json) {
    context.print(JSON.stringify({ parcel, version, volumes }))
    return
  }
  context.print(formatFields(Object.entries(volumes)))
  context.note(`Serving version ${version} of ${parcel}. Ctrl-C ends it.`)
}
