import { Option } from 'commander'
import path from 'node:path'
import { HyperparcelError } from '../../base/errors.ts'
import type { CliCommand } from '../command.ts'
import { parseCount } from '../parse.ts'
import { formatBytes } from '../ui/format.ts'

interface Options {
  volume: string
  version?: number
  format: 'raw' | 'qcow2'
}

export const exportVolume: CliCommand = {
  usage: 'export <name> <file>',
  summary: 'write a volume of a parcel as a disk image',
  details:
    'The image is in the clear: anybody who can read the file can read the disk, so a new file is for you alone (mode 0600). A file that is there is replaced.',
  example: 'hyperparcel export work work.qcow2 --format qcow2',
  options(command) {
    command
      .option('--volume <volume>', 'which one', 'disk0')
      .option('--version <n>', 'that version instead of the newest', parseCount(1))
      .addOption(
        new Option('--format <format>', 'of the image').choices(['raw', 'qcow2']).default('raw')
      )
  },
  async run(context, [name, file], options: Options) {
    if (file === '-') {
      throw new HyperparcelError('USAGE', 'An image needs a file, it cannot be written to a pipe', {
        hint: 'For a file of that name: ./-'
      })
    }
    const result = await context.request('export', {
      name,
      file: path.resolve(context.io.cwd, file),
      ...options
    })
    const wrote = `Wrote ${formatBytes(result.bytes)} to ${result.file}`
    const stale = result.running && options.version === undefined
    const text = stale
      ? `${wrote}: ${result.parcel} as version ${result.version} has it, without what changed since it runs.`
      : `${wrote}.`
    return { json: result, text }
  }
}
