/** Where built guests are kept: per user, because what is found there is booted and trusted. */
import { mkdir, stat } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { HyperparcelError } from '../../lib/base/errors.ts'

const HINT =
  'Remove it, or name a directory of your own in HYPERPARCEL_DEMO_DIR (demo and soak), HYPERPARCEL_TEST_CACHE (tests) or XDG_CACHE_HOME.'

/** In $HYPERPARCEL_DEMO_DIR, else in $XDG_CACHE_HOME, else in ~/.cache. */
export function guestCache(env: NodeJS.ProcessEnv = process.env): string {
  const named = env['HYPERPARCEL_DEMO_DIR']
  if (named) return path.join(path.resolve(named), 'hyperparcel-cache')
  return userCache(env)
}

export function userCache(env: NodeJS.ProcessEnv = process.env): string {
  // The XDG base directory specification: a relative path is invalid and ignored.
  const cache = env['XDG_CACHE_HOME']
  if (cache && path.isAbsolute(cache)) return path.join(cache, 'hyperparcel')
  return path.join(env['HOME'] || os.homedir(), '.cache', 'hyperparcel')
}

/**
 * Makes it where it is missing. Rejects with `GUEST_CACHE_UNUSABLE` where it cannot be made, belongs to somebody else
 * or may be written by others.
 */
export async function openCache(directory: string): Promise<void> {
  const made = await mkdir(directory, { recursive: true, mode: 0o755 }).then(
    () => null,
    (err: Error) => err
  )
  if (made !== null) {
    throw unusable(`${directory} cannot be made: ${made.message}`, made)
  }
  const found = await stat(directory)
  if (found.uid !== process.getuid?.()) throw unusable(`${directory} belongs to somebody else`)
  if ((found.mode & 0o022) !== 0) throw unusable(`${directory} may be written by others`)
}

function unusable(message: string, cause?: unknown): HyperparcelError {
  return new HyperparcelError('GUEST_CACHE_UNUSABLE', message, { hint: HINT, cause })
}
