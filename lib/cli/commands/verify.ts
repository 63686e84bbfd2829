import { EXIT } from '../../base/errors.ts'
import type { VerifyResult } from '../../daemon/api-versions.ts'
import type { CliCommand } from '../command.ts'
import { usage } from '../failure.ts'
import { parseCount } from '../parse.ts'
import { count, formatBytes } from '../ui/format.ts'
import { versionList } from '../ui/version-list.ts'

interface Options {
  version?: number
  repair?: boolean
}

export const verify: CliCommand = {
  usage: 'verify [name]',
  summary: 'check every byte that is stored here',
  details:
    'Reads everything that is stored here of a parcel, or of all: seals, chunks against their ids, maps and content roots. It works while the VM runs. With --repair, bad blocks are fetched again from another device. Ends with 6 when something is bad and stays so, and with 5 when a version named with --version is not all here. What is bad is named by `show` too, until a later check finds it good.',
  example: 'hyperparcel verify work --repair',
  options(command) {
    command
      .option('--version <n>', 'that version only', parseCount(1))
      .option('--repair', 'fetch good copies of what is bad')
  },
  async run(context, [name], options: Options) {
    if (name === undefined && options.version !== undefined) {
      throw usage('--version needs the name of a parcel')
    }
    const { version, repair = false } = options
    const result = await context.request('verify', { name, version, repair })
    if (result.bad === 0 && version !== undefined && result.missing > 0) {
      const message = `Version ${version} of ${name} is not all here: ${count(result.missing, 'block')} could not be checked`
      const hint = `Check it where all of it is, or fetch the rest first: \`hyperparcel resume ${name} --fetch all\` does for the newest version, \`hyperparcel log ${name}\` says what is here.`
      return {
        json: { ...result, error: { code: 'DATA_UNREACHABLE', message, hint } },
        text: `${summary(result)}\n${message}.\n${hint}`,
        exitCode: EXIT.UNREACHABLE
      }
    }
    if (result.bad === 0) return { json: result, text: summary(result) }
    const message = `${result.bad} of ${count(result.checked, 'block')} ${result.bad === 1 ? 'is' : 'are'} bad`
    const hint = repair
      ? 'No connected device has good copies of them: connect to another one and try again.'
      : 'With --repair, good copies are fetched from another device.'
    return {
      json: { ...result, error: { code: 'DATA_CORRUPT', message, hint } },
      text: `${summary(result)}\n${hint}`,
      exitCode: EXIT.UNVERIFIED
    }
  }
}

function summary(result: VerifyResult): string {
  const lines = [
    `Checked ${count(result.checked, 'block')}, ${formatBytes(result.bytes_checked)}: ${result.bad} bad, ${result.repaired} repaired.`
  ]
  for (const [parcel, numbers] of byParcel(result.bad_versions)) {
    lines.push(`Bad in ${parcel}: ${versionList(numbers)}.`)
  }
  if (result.missing > 0)
    lines.push(
      `${count(result.missing, 'block')} ${result.missing === 1 ? 'is' : 'are'} not stored here.`
    )
  return lines.join('\n')
}

function byParcel(found: VerifyResult['bad_versions']): Map<string, number[]> {
  const numbers = new Map<string, number[]>()
  for (const { parcel, version } of found.toSorted((a, b) => a.version - b.version)) {
    numbers.set(parcel, [...(numbers.get(parcel) ?? []), version])
  }
  return numbers
}
