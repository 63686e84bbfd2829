import type { PruneResult } from '../../daemon/api-versions.ts'
import type { CliCommand } from '../command.ts'
import { versionList } from '../ui/version-list.ts'
import type { Context } from '../context.ts'
import { parseCount } from '../parse.ts'
import { formatBytes } from '../ui/format.ts'

interface Options {
  keep: number
  dryRun?: boolean
  yes?: boolean
}

export const prune: CliCommand = {
  usage: 'prune <name>',
  summary: 'forget old versions on this device and give the disk space back',
  details:
    'Keeps the newest versions, those in use, and all of a branch; other parcels lose nothing, also where they were cloned from an old version. Other devices keep what they have: it is fetched again from them when it is needed. Says which versions nobody else is known to have.',
  example: 'hyperparcel prune work --keep 5',
  options(command) {
    command
      .requiredOption('--keep <n>', 'how many of the newest versions stay', parseCount(1))
      .option('--dry-run', 'only say what would go')
      .option('--yes', 'do not ask')
  },
  async run(context, [name], options: Options) {
    const { keep } = options
    if (options.dryRun === true) {
      const plan = await context.request('prune', { name, keep, dryRun: true })
      return { json: plan, text: `${planned(plan)}${onlyHere(plan)}` }
    }
    if (options.yes !== true) await ask(context, name, keep)
    const result = await context.request('prune', { name, keep })
    const text = `Gave ${formatBytes(result.bytes_freed)} back: ${versionList(result.dropped)} of ${result.parcel} dropped, ${versionList(result.kept)} kept.`
    return { json: result, text: `${text}${rewritten(result)}${pending(result)}` }
  }
}

function rewritten({ segments_rewritten: segments, bytes_rewritten: bytes }: PruneResult): string {
  if (segments === 0) return ''
  return ` What was needed of ${segments} segments that were mostly dead was packed into ${formatBytes(bytes)}.`
}

function pending({ bytes_pending: bytes }: PruneResult): string {
  if (bytes === 0) return ''
  return `\nAnother ${formatBytes(bytes)} come back when the disk has more room: prune again then.`
}

async function ask(context: Context, name: string, keep: number): Promise<void> {
  const plan = await context.request('prune', { name, keep, dryRun: true })
  await context.confirm(`${planned(plan)}${onlyHere(plan)}`, false)
}

function planned(plan: PruneResult): string {
  const what =
    plan.dropped.length === 0
      ? 'what no version needs (from suspends that were interrupted, for instance)'
      : versionList(plan.dropped)
  const dead = plan.segments_mostly_dead
  const rewrites = dead === 0 ? '' : ` and rewrites ${dead} segments that are mostly dead`
  return `This drops ${what} of ${plan.parcel} on this device${rewrites}, about ${formatBytes(plan.bytes_expected)}; ${versionList(plan.kept)} ${plan.kept.length === 1 ? 'stays' : 'stay'}.`
}

function onlyHere({ only_copies: numbers }: PruneResult): string {
  if (numbers.length === 0) return ''
  return ` No other device is known to have ${versionList(numbers)}: this may be the only copy.`
}
