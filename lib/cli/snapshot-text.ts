/** How `suspend` and `checkpoint` tell what they made. */
import { formatBytes, formatDuration } from './ui/format.ts'

interface Snapshot {
  version: number
  bytes_new: number
  bytes_stored: number
  replicas: number
}

export function snapshotText(made: Snapshot, tookMs: number): string {
  const held =
    made.replicas === 0
      ? 'no other device holds it yet'
      : `${made.replicas} ${made.replicas === 1 ? 'peer holds' : 'peers hold'} all of it`
  return `version ${made.version} after ${formatDuration(tookMs)}; ${formatBytes(made.bytes_new)} new, ${formatBytes(made.bytes_stored)} stored; ${held}.`
}
