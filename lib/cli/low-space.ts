/** The warning that the disk fills up, beside whatever a command did. */
import type { LowSpace } from '../daemon/api-versions.ts'
import type { Context } from './context.ts'
import { formatBytes } from './ui/format.ts'

export function warnOfLowSpace(context: Context, low: LowSpace | undefined): void {
  if (low === undefined) return
  const way =
    low.command === null
      ? 'Pruning would not help: free some space elsewhere.'
      : `\`${low.command}\` would give about ${formatBytes(low.bytes_prunable)} back.`
  context.note(`Only ${formatBytes(low.bytes_free)} are free on this disk. ${way}`)
}
