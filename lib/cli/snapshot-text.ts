/** How `suspend` and `checkpoint` tell what they made. */
import { formatBytes, formatDuration } from './ui/format.ts'

interface Snapshot {
  version: number
  bytes_new: number
  bytes_stored: number
  replicas: number
}

export function snapshotText(made: Snapshot, tookMs: number): string {
  return `version ${made.version} after ${formatDuration(tookMs)}; ${formatBytes(made.bytes_new)} new, ${formatBytes(made.bytes_stored)} stored; ${heldText(made.replicas)}.`
}

export function heldText(replicas: number): string {
  if (replicas === 0) return 'no other device holds it yet'
  return `${replicas} ${replicas === 1 ? 'peer holds' : 'peers hold'} all of it`
}
