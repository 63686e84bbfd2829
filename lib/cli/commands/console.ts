import { connectUnix } from '../../ipc/endpoint.ts'
import type { CliCommand } from '../command.ts'
import { bridge } from '../console/bridge.ts'

export const consoleCommand: CliCommand = {
  usage: 'console <name>',
  summary: "open the guest's serial console on this terminal",
  details:
    'Connects this terminal to the serial console of a running parcel. Ctrl-] leaves; the guest runs on. Without a terminal, standard input is passed on until its end.',
  example: 'hyperparcel console work\necho uptime | hyperparcel console work',
  async run(context, [name]) {
    const { parcel, serial } = await context.request('console', { name })
    const socket = await connectUnix(serial)
    context.note(`Connected to ${parcel}. Ctrl-] leaves, the guest runs on.`)
    const left = await bridge({
      socket,
      stdin: context.io.stdin,
      stdout: context.io.stdout,
      signal: context.signal,
      clock: context.io.clock
    })
    if (context.json) context.io.stdout.write('\n')
    else context.note(left === 'closed' ? `\nThe console of ${parcel} closed.` : '')
    return { json: { parcel }, text: '' }
  }
}
