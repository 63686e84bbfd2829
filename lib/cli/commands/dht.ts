import type { CliCommand } from '../command.ts'
import { parsePort } from '../parse.ts'

interface Options {
  host: string
  port: number
}

export const dht: CliCommand = {
  usage: 'dht',
  summary: 'run a private DHT, for networks without Internet',
  details:
    'Runs a bootstrap node and the nodes that a DHT needs besides it, until interrupted. Devices use it with `--bootstrap HOST:PORT` on init, join or daemon run.',
  example: 'hyperparcel dht --host 192.168.1.10\nhyperparcel init --bootstrap 192.168.1.10:49737',
  options(command) {
    command
      .option('--host <ip>', 'the address that devices reach it by', '127.0.0.1')
      .option('--port <port>', 'the port of the bootstrap node', parsePort, 49_737)
  },
  async run(context, _args, options: Options) {
    const { openPrivateDht } = await import('../../daemon/private-dht.ts')
    const network = await openPrivateDht(options)
    try {
      const bootstrap = network.bootstrap
      context.print(context.json ? JSON.stringify({ bootstrap }) : bootstrap)
      context.note('Private DHT running. Ctrl-C ends it.')
      await context.interrupted()
    } finally {
      await network.close()
    }
    return { json: null, text: '' }
  }
}
