import type { CliCommand } from '../command.ts'
import { warnOfLowSpace } from '../low-space.ts'
import { snapshotText } from '../snapshot-text.ts'
import { formatDuration } from '../ui/format.ts'

interface Options {
  message?: string
}

export const checkpoint: CliCommand = {
  usage: 'checkpoint <name>',
  summary: 'keep a version while the parcel runs on',
  example: 'hyperparcel checkpoint work -m "before the upgrade"',
  options(command) {
    command.option('-m, --message <text>', 'a note for the log')
  },
  async run(context, [name], options: Options) {
    const result = await context.request('checkpoint', { name, ...options })
    const text = `${result.parcel} runs on: ${snapshotText(result, result.suspend_ms)} It stood still for ${formatDuration(result.pause_ms)}.`
    warnOfLowSpace(context, result.low_space)
    return { json: result, text }
  }
}
