/** How Corestore's database is opened and closed. */
import type Corestore from 'corestore'
import Hypercore from 'hypercore'

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

/** A core that could not be opened cannot be closed either, and would keep the database open, and locked. */
export async function closeStore(store: Corestore): Promise<void> {
  try {
    await store.close()
  } catch {
    await store.storage.close()
  }
}
