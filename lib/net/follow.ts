/** Keeps all blocks of a followed log here, a batch after the other. */
import safetyCatch from 'safety-catch'
import type { FetchOptions, Log } from '../store/ports.ts'
import type { LogWatch } from './watch.ts'

/** Blocks handed to one job. */
const CATCH_UP_MAX = 256

/** Fetches what is missing up to the length known here; at most one run for each log. */
export async function catchUp(
  watch: LogWatch,
  signal: AbortSignal,
  fetch: (key: Buffer, indexes: number[], opts: FetchOptions) => Promise<void>
): Promise<void> {
  if (watch.catchingUp) return
  watch.catchingUp = true
  try {
    for (let at = 0; watch.follow !== null;) {
      const indexes = await missing(watch.log, at, CATCH_UP_MAX)
      if (indexes.length === 0) break
      await fetch(watch.key, indexes, { priority: watch.follow, signal })
      at = indexes.at(-1)! + 1
    }
  } catch (err) {
    safetyCatch(err)
  } finally {
    watch.catchingUp = false
  }
}

async function missing(log: Log, from: number, max: number): Promise<number[]> {
  const indexes: number[] = []
  let index = await log.firstMissing(from, log.length)
  while (index !== -1 && indexes.length < max) {
    indexes.push(index)
    index = await log.firstMissing(index + 1, log.length)
  }
  return indexes
}
