/**
 * A lock that the kernel drops when its holder dies, however that happens. Node has no flock(2), but a lock
 * belongs to the open file, so flock(1) can take it on a descriptor that it inherits, and leave it to us.
 */
// oxlint-disable-next-line no-restricted-imports -- one call of some milliseconds, before the daemon serves anybody
import { spawnSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { HyperparcelError } from './errors.ts'

export interface FileLock {
  release(): void
}

/** The lock, or null when another process holds it. Throws `TOOL_MISSING` without flock(1). */
export function tryLock(file: string): FileLock | null {
  const fd = openSync(file, 'a', 0o600)
  const { status, error } = spawnSync('flock', ['--nonblock', '3'], {
    stdio: ['ignore', 'ignore', 'ignore', fd]
  })
  if (status === 0) return { release: () => closeSync(fd) }
  closeSync(fd)
  if (error === undefined) return null
  throw new HyperparcelError('TOOL_MISSING', 'flock cannot be started', {
    hint: 'Install the package util-linux.',
    cause: error
  })
}
