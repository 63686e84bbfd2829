/** How Corestore's database is opened and closed. */
import type Corestore from 'corestore'
import Hypercore from 'hypercore'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../base/errors.ts'
import { noteStuckThread } from '../base/exit.ts'
import { openError } from './store-errors.ts'

/** RocksDB keeps each of its files open otherwise, and every flush makes one that stays. */
const OPEN_FILES_MAX = 256

/**
 * What a compaction moves on its own account: nothing. By default it writes the live values of the oldest quarter of all
 * files anew, however little was added; `reclaim` does that where values were cleared.
 */
const MOVED_SHARE = 0

/** Two of them are in memory at once, and each becomes a file. By default 64 MiB: a larger daemon, no faster import. */
const WRITE_BUFFER_BYTES = 16 * 1024 * 1024

export function openStorage(directory: string, { readOnly = false } = {}): Hypercore.Storage {
  return Hypercore.defaultStorage(directory, {
    readOnly,
    blobGarbageCollectionAgeCutOff: MOVED_SHARE,
    maxOpenFiles: OPEN_FILES_MAX,
    writeBufferSize: WRITE_BUFFER_BYTES
  })
}

/** A database opens in less. RocksDB runs in circles over some damaged files, and cannot be told to stop. */
const OPEN_TIMEOUT_MS = 60_000

/**
 * Resolves when its database is open. Rejects with `DATA_CORRUPT` when that takes too long: then a thread of this process
 * is lost to it, and it cannot be closed.
 */
export async function openStore(
  store: Corestore,
  directory: string,
  timeoutMs = OPEN_TIMEOUT_MS
): Promise<void> {
  const opening = store.ready()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<true>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, true)
  })
  try {
    if ((await Promise.race([opening, late])) !== true) return
  } catch (err) {
    await closeStore(store).catch(() => {})
    throw openError(err, directory)
  } finally {
    clearTimeout(timer)
  }
  opening.catch(safetyCatch)
  noteStuckThread()
  const seconds = Math.round(timeoutMs / 1000)
  throw new HyperparcelError(
    'DATA_CORRUPT',
    `The store in ${directory} did not open within ${seconds} s`,
    {
      hint: 'Its database is damaged, or the disk does not answer. If it stays so, move that directory away: what other devices hold is fetched again.'
    }
  )
}

/** A core that could not be opened cannot be closed either, and would keep the database open, and locked. */
export async function closeStore(store: Corestore): Promise<void> {
  try {
    await store.close()
  } catch {
    await store.storage.close()
  }
}
