import { HyperparcelError } from '../../base/errors.ts'
import type { DaemonStatus } from '../../daemon/api.ts'
import type { CliCommand, Outcome } from '../command.ts'
import type { Context } from '../context.ts'
import { networkOptions, networkParams, type NetworkOptions } from '../network-options.ts'
import { formatAge, formatBytes, formatFields, shortKey } from '../ui/format.ts'

const run: CliCommand = {
  usage: 'run',
  summary: 'run it in the foreground, until interrupted',
  details:
    'Runs the daemon of this home in the foreground until it is interrupted. Running VMs go on without it. Other commands start one in the background by themselves.',
  example: 'hyperparcel daemon run --bootstrap 192.168.1.10:49737',
  options: networkOptions,
  async run(context, _args, options: NetworkOptions) {
    const paths = await context.paths()
    // Loaded here: no other command needs the whole daemon in memory.
    const { runDaemon } = await import('../../daemon/run.ts')
    const { createLogger } = await import('../../base/logger.ts')
    await runDaemon({
      paths,
      network: networkParams(options),
      logger: createLogger({ name: 'daemon' }),
      signal: context.signal,
      onready: (status) => {
        context.print(context.json ? JSON.stringify(status) : statusText(context, status))
      }
    })
    return { json: null, text: '' }
  }
}

const stop: CliCommand = {
  usage: 'stop',
  summary: 'end it; running VMs go on',
  example: 'hyperparcel daemon stop',
  async run(context) {
    const result = await context.requestIfRunning('daemon.stop', {})
    if (result === null) return notRunning()
    await gone(context, result.pid)
    return { json: { ...result, peers: 0, address: null }, text: 'The daemon ended.' }
  }
}

async function showStatus(context: Context): Promise<Outcome> {
  const status = await context.requestIfRunning('daemon.status', {})
  return status === null ? notRunning() : { json: status, text: statusText(context, status) }
}

export const daemon: CliCommand = {
  usage: 'daemon',
  summary: 'run, stop or show the process that does the work',
  example: 'hyperparcel daemon status',
  run: showStatus,
  subcommands: [
    run,
    stop,
    {
      usage: 'status',
      summary: 'show whether it runs',
      example: 'hyperparcel daemon status --json',
      run: showStatus
    }
  ]
}

function notRunning(): Outcome {
  return { json: { pid: null, peers: 0, address: null }, text: 'No daemon runs on this home.' }
}

function statusText(context: Context, status: DaemonStatus): string {
  return formatFields([
    ['process', `${status.pid}, started ${formatAge(status.started, context.io.clock.now())}`],
    ['home', status.home],
    ['device', status.device],
    ['fleet', status.fleet === null ? null : shortKey(status.fleet)],
    ['peers', status.peers],
    ['address', status.address],
    ['received', formatBytes(status.bytes_received)],
    ['sent', formatBytes(status.bytes_sent)]
  ])
}

/** The home is free for the next daemon only when the process has ended. */
async function gone(context: Context, pid: number): Promise<void> {
  const deadline = context.io.clock.monotonic() + 30_000
  while (alive(pid)) {
    if (context.io.clock.monotonic() > deadline) {
      throw new HyperparcelError('DAEMON_STUCK', `The daemon (process ${pid}) does not end`, {
        hint: `Its log is daemon.log in ${context.home}.`
      })
    }
    await context.io.clock.sleep(20, context.signal)
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
