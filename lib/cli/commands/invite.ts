import { Option } from 'commander'
import type { CliCommand } from '../command.ts'
import { parseDuration } from '../parse.ts'
import { formatDuration } from '../ui/format.ts'

interface Options {
  cache?: boolean
  expires: number
  wait: boolean
}

export const invite: CliCommand = {
  usage: 'invite',
  summary: 'print an invite for another machine and wait for its use',
  details:
    'Prints an invite that works once, for `hyperparcel join` on another machine, and waits until it was used. Give it only to whom you would give the fleet.',
  example: 'hyperparcel invite --expires 1h',
  options(command) {
    command
      .option('--cache', 'invite a cache: it stores ciphertext and gets no keys')
      .addOption(
        new Option('--expires <duration>', 'how long it works')
          .argParser(parseDuration)
          .default(600_000, '10m')
      )
      .option('--no-wait', 'print it and return; the daemon goes on waiting')
  },
  async run(context, _args, options: Options) {
    let printed = false
    const announce = (text: string) => {
      if (printed || context.json) return
      printed = true
      context.print(text)
      if (!options.wait) return
      context.note(`Works once, for ${formatDuration(options.expires)}. Waiting for its use …`)
    }
    const result = await context.request(
      'invite',
      {
        role: options.cache === true ? 'cache' : 'device',
        expiresMs: options.expires,
        wait: options.wait
      },
      { onevent: (event) => event.invite !== undefined && announce(event.invite) }
    )
    announce(result.invite)
    return { json: result, text: result.paired === null ? '' : `Paired with ${result.paired}.` }
  }
}
