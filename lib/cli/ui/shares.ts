/** What came from whom, in words: `office 3.1 MiB/s, stick 12.0 MiB/s`. */
import type { ByteShare } from '../../base/progress.ts'
import { formatBytes, printable } from './format.ts'

export function sharesText(shares: readonly ByteShare[]): string {
  return shares
    .map(({ name, bytes, per_second: rate }) =>
      rate > 0
        ? `${printable(name)} ${formatBytes(rate)}/s`
        : `${printable(name)} ${formatBytes(bytes)}`
    )
    .join(', ')
}
