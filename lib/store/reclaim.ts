/**
 * Gives the disk space of cleared blocks back. RocksDB keeps values in large files of their own and a file goes only
 * when nothing in it is needed any more: what is still needed of the oldest files is written to new ones, a few files
 * at a time, so that it needs little free space and can stop after any step.
 */
import type Corestore from 'corestore'

/** RocksDB beneath the store, what we use of it. */
export type Tables = Pick<Corestore['storage']['db'], 'compactRange' | 'getProperty'>

const FORCE_BLOBS = 1
const LEAVE_BLOBS = 2
const ALL_LEVELS = 2
/** Less than that is not worth the writing: bytes, and a share of all. */
const GARBAGE_BYTES_MIN = 1024 ** 2
const GARBAGE_SHARE_MIN = 0.02
/** Of the oldest files, at most that share at once. */
const SHARE_MAX = 0.25

/** Written besides by others meanwhile. */
const SPARE_BYTES = 64 * 1024 ** 2

export interface ReclaimOptions {
  signal?: AbortSignal
  /** Of cleared values, how many bytes are still on the disk. */
  onstep?(garbageBytes: number): void
}

/**
 * @param freeBytes asks how much room there is: a RocksDB that once meets a full disk takes no more writes
 * Resolves with the bytes that are left because there was no room to go on; 0 when next to nothing is left.
 */
export async function reclaim(
  tables: Tables,
  freeBytes: () => Promise<number>,
  opts: ReclaimOptions = {}
): Promise<number> {
  const tableBytes = await property(tables, 'live-sst-files-size')
  if ((await freeBytes()) < tableBytes + SPARE_BYTES) return state(tables).then((s) => s.garbage)
  // Which values nobody needs is known only when the tables that name them were merged.
  await tables.compactRange({
    blobGarbageCollectionPolicy: LEAVE_BLOBS,
    bottommostLevelCompaction: ALL_LEVELS
  })
  let first = Infinity
  let files = 0
  for (let done = 0; ; done += files) {
    opts.signal?.throwIfAborted()
    const { total, garbage, count } = await state(tables)
    opts.onstep?.(garbage)
    first = Math.min(first, count)
    // At most one round over all files that were there at first.
    if (done > first || garbage < GARBAGE_BYTES_MIN || garbage < total * GARBAGE_SHARE_MIN) return 0
    const room = (await freeBytes()) - tableBytes - SPARE_BYTES
    files = Math.min(Math.max(1, Math.floor(count * SHARE_MAX)), Math.floor(room / (total / count)))
    if (files < 1) return garbage
    await tables.compactRange({
      blobGarbageCollectionPolicy: FORCE_BLOBS,
      blobGarbageCollectionAgeCutoff: Math.min(1, (files + 0.5) / count),
      bottommostLevelCompaction: ALL_LEVELS
    })
  }
}

async function state(tables: Tables): Promise<{ total: number; garbage: number; count: number }> {
  return {
    total: await property(tables, 'live-blob-file-size'),
    garbage: await property(tables, 'live-blob-file-garbage-size'),
    count: Math.max(1, await property(tables, 'num-blob-files'))
  }
}

async function property(tables: Tables, name: string): Promise<number> {
  return Number(await tables.getProperty(`rocksdb.${name}`)) || 0
}
