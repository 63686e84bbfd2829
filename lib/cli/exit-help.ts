/** The exit codes as `--help` prints them; a test compares the README's table with this one. */
import { EXIT } from '../base/errors.ts'

export const EXIT_MEANINGS: readonly (readonly [number, string])[] = [
  [EXIT.DONE, 'done'],
  [EXIT.FAILED, 'failed'],
  [EXIT.USAGE, 'usage'],
  [EXIT.NOT_FOUND, 'no such parcel, version, device'],
  [EXIT.LEASE_HELD, 'the lease is held elsewhere'],
  [EXIT.UNREACHABLE, 'needed data is not reachable'],
  [EXIT.UNVERIFIED, 'data did not verify'],
  [EXIT.NEEDS_APPROVAL, 'needs approval (VMM mismatch, fork, forced takeover)'],
  [EXIT.INTERRUPTED, 'interrupted']
]

export const EXIT_HELP = [
  'Exit codes:',
  ...EXIT_MEANINGS.map(([code, meaning]) => `  ${String(code).padEnd(4)} ${meaning}`)
].join('\n')
