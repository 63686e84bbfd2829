/** Indexes a seed: reads what is no hole of it once, and hashes each chunk. */
import { open, type FileHandle } from 'node:fs/promises'
import { setImmediate as turn } from 'node:timers/promises'
import { HyperparcelError } from '../../base/errors.ts'
import { CHUNK_BYTES, CHUNK_ID_BYTES } from '../../base/limits.ts'
import { readPadded } from '../../base/read-padded.ts'
import { isZeroChunk, writeChunkId } from '../../chunk/ids.ts'
import { dataExtents, type Extent } from '../qemu-img.ts'
import { isSame, seedFiles, type SeedFile } from './seed-files.ts'
import {
  SEED_ENTRIES_MAX,
  SeedEntries,
  SeedIndex,
  writeSeedIndex,
  type SeedDescription
} from './seed-index.ts'

const READ_CHUNKS = 256
/** Asking where the holes of a file are costs a process: small files are read. */
const SPARSE_BYTES_MIN = 16 * 1024 ** 2
const REPORT_MS = 200

export interface SeedSummary {
  files: number
  bytes: number
  chunks: number
  whole: boolean
  /** It was indexed before and has not changed. */
  reused: boolean
}

/** @param index where it goes: an index that is there and still fits is kept. Rejects with `PATH_UNUSABLE`. */
export async function buildSeed(
  root: string,
  index: string,
  dedupKey: Buffer,
  report: (done: number, total: number) => void
): Promise<SeedSummary> {
  const { files, whole } = await seedFiles(root).catch((cause: Error) => {
    throw new HyperparcelError('PATH_UNUSABLE', `${root} cannot be read: ${cause.message}`, {
      hint: 'Name an image file, a directory, or a stick.',
      cause
    })
  })
  const known = stillFits(index, files)
  if (known !== null) return known
  const about: SeedDescription = { root, files, bytes: 0, whole }
  const entries = new SeedEntries()
  const build = new Build(about, entries, dedupKey, report)
  for (const file of files) await build.add(file)
  if (entries.count === 0) {
    throw new HyperparcelError('PATH_UNUSABLE', `There are no data in ${root}`, {
      hint: 'Name an image file or a directory that has data in common with a parcel.'
    })
  }
  const chunks = entries.count
  writeSeedIndex(index, about, entries)
  return { files: files.length, bytes: about.bytes, chunks, whole: about.whole, reused: false }
}

function stillFits(index: string, files: SeedFile[]): SeedSummary | null {
  try {
    const known = SeedIndex.open(index)
    known.close()
    const { about } = known
    const same =
      about.files.length === files.length &&
      files.every(({ path, size, mtimeMs, inode: ino }, i) => {
        return about.files[i].path === path && isSame(about.files[i], { size, mtimeMs, ino })
      })
    if (!same) return null
    const { bytes, whole } = about
    const chunks = Math.ceil(bytes / CHUNK_BYTES)
    return { files: files.length, bytes, chunks, whole, reused: true }
  } catch {
    return null
  }
}

class Build {
  readonly #about: SeedDescription
  readonly #entries: SeedEntries
  readonly #key: Buffer
  readonly #report: (done: number, total: number) => void
  readonly #data = Buffer.allocUnsafeSlow(READ_CHUNKS * CHUNK_BYTES)
  readonly #ids = Buffer.allocUnsafeSlow(CHUNK_ID_BYTES)
  readonly #total: number
  #passed = 0
  #reported = 0

  constructor(
    about: SeedDescription,
    entries: SeedEntries,
    key: Buffer,
    report: (done: number, total: number) => void
  ) {
    this.#about = about
    this.#entries = entries
    this.#key = key
    this.#report = report
    this.#total = about.files.reduce((sum, { size }) => sum + size, 0)
  }

  /** One that cannot be read has nothing. */
  async add(file: SeedFile): Promise<void> {
    const before = this.#passed
    const handle = await open(file.path, 'r').catch(() => null)
    try {
      if (handle !== null) await this.#read(file, handle, before)
    } catch {
      // What was read of it stays.
    } finally {
      await handle?.close()
    }
    this.#passed = before + file.size
    this.#tell()
  }

  async #read(file: SeedFile, handle: FileHandle, before: number): Promise<void> {
    const whole: Extent[] = [{ first: 0, count: Math.ceil(file.size / CHUNK_BYTES) }]
    const sparse = file.size >= SPARSE_BYTES_MIN
    const extents = sparse ? await dataExtents(file.path, file.size).catch(() => whole) : whole
    for (const { first, count } of extents) {
      for (let at = first; at < first + count; at += READ_CHUNKS) {
        const chunks = Math.min(READ_CHUNKS, first + count - at)
        // Zeros behind the end of a file, as file systems have it on their disks.
        const part = this.#data.subarray(0, chunks * CHUNK_BYTES)
        const bytes = await readPadded(handle, part, at * CHUNK_BYTES)
        if (bytes === 0) return
        this.#hash(file.first + at, bytes)
        this.#passed = before + Math.min(file.size, at * CHUNK_BYTES + bytes)
        this.#tell()
        await turn()
      }
    }
  }

  #hash(first: number, bytes: number): void {
    for (let at = 0; at < bytes; at += CHUNK_BYTES) {
      if (isZeroChunk(this.#data, at)) continue
      if (this.#entries.count === SEED_ENTRIES_MAX) {
        this.#about.whole = false
        return
      }
      writeChunkId(this.#ids, 0, this.#data, at, this.#key)
      this.#entries.add(this.#ids, 0, first + at / CHUNK_BYTES)
      this.#about.bytes += Math.min(CHUNK_BYTES, bytes - at)
    }
  }

  #tell(): void {
    const now = performance.now()
    if (now - this.#reported < REPORT_MS) return
    this.#reported = now
    this.#report(this.#passed, this.#total)
  }
}
