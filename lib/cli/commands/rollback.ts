import type { CliCommand } from '../command.ts'
import { parseCount } from '../parse.ts'

export const rollback: CliCommand = {
  usage: 'rollback <name> <version>',
  summary: 'make a new version with the content of an older one',
  details:
    'The newer versions stay where they are, in case you want them back. Nothing is copied. A version with memory resumes where it was suspended; its guest learns that it was set back.',
  example: 'hyperparcel rollback work 3',
  async run(context, [name, number]) {
    const version = parseCount(1)(number)
    const result = await context.request('rollback', { name, version })
    return {
      json: result,
      text: `${result.parcel} has version ${result.version} now, with the content of version ${version}.`
    }
  }
}
