/**
 * What chunks are stored here, and where: the dedup index of a device. A table of hints in memory over one id file
 * a log.
 *
 * - `add` is called for every segment that was appended or arrived; it writes the log's id file and the table.
 * - A place is offered only when the whole id matches and the block is really stored here (`stored`), so a commit
 *   never references what is not. A hint that proved wrong is removed, so that the chunk's next place counts.
 * - Everything here can be rebuilt from sealed segments with the id keys (`unknown` says for which blocks).
 * - The table is filled from the id files in the background; until `loaded` it misses some. It has one place of a
 *   chunk, so it is filled again (`reload`) when places were forgotten.
 */
import { mkdirSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import ReadyResource from 'ready-resource'
import safetyCatch from 'safety-catch'
import { faultPoint } from '../base/fault-point.ts'
import { CHUNK_ID_BYTES, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import {
  ID_FILE_SUFFIX,
  ID_RECORD_BYTES,
  ID_RECORD_HEADER_BYTES,
  UNKNOWN
} from '../format/id-record.ts'
import { IdFile, RECORDS_MAX, type IdRecords } from './id-file.ts'
import { IdTable, type Place } from './id-table.ts'

const FILE_NAME = new RegExp(`^[0-9a-f]{64}\\${ID_FILE_SUFFIX}$`)
const EMPTY = Buffer.alloc(0)

export interface DedupIndexOptions {
  directory: string
  /** Which of these blocks of that log are stored here? */
  stored(log: Buffer, blocks: number[]): Promise<boolean[]>
}

/** Three words for each id: log handle + 1 (0: not stored here), block, slot. */
export interface Places {
  words: Uint32Array
  handles: Set<number>
}

export class DedupIndex extends ReadyResource {
  readonly #opts: DedupIndexOptions
  readonly #table = new IdTable()
  readonly #keys: Buffer[] = []
  readonly #handles = new Map<string, number>()
  readonly #files: Promise<IdFile>[] = []
  #loading: Promise<void> = Promise.resolve()

  constructor(opts: DedupIndexOptions) {
    super()
    this.#opts = opts
  }

  protected override async _open(): Promise<void> {
    mkdirSync(this.#opts.directory, { recursive: true, mode: 0o700 })
    const names = await readdir(this.#opts.directory)
    const logs = names
      .filter((name) => FILE_NAME.test(name))
      .map((name) => Buffer.from(name.slice(0, 64), 'hex'))
    this.#loading = this.#load(logs)
  }

  protected override async _close(): Promise<void> {
    await this.#loading
    for (const file of this.#files) await file.then((opened) => opened.close()).catch(safetyCatch)
  }

  /**
   * Fills the table from the id files again, in the background: a chunk whose place was forgotten may be stored in
   * another one, which the table did not have room for.
   */
  reload(): void {
    const logs = [...this.#keys]
    this.#loading = this.#loading.then(() => this.#load(logs))
  }

  /** Resolves when the table has everything that the id files have. */
  loaded(): Promise<void> {
    return this.#loading
  }

  /** Chunks with a known place. */
  get chunks(): number {
    return this.#table.count
  }

  /** Of the table in memory. */
  get bytes(): number {
    return this.#table.bytes
  }

  keyOf(handle: number): Buffer {
    return this.#keys[handle]
  }

  /**
   * Remembers what consecutive blocks are that are stored here.
   * @param chunks chunks of each segment, 0 for a block that is none
   * @param ids of all of them, 32 bytes each
   */
  async add(log: Buffer, first: number, chunks: number[], ids: Buffer): Promise<void> {
    const handle = this.#handle(log)
    let at = 0
    for (let i = 0; i < chunks.length; i++) {
      for (let slot = 0; slot < chunks[i]; slot++) {
        this.#table.add(ids, at++, handle, first + i, slot)
      }
    }
    faultPoint('tabled')
    try {
      await (await this.#files[handle]).put(first, chunks, ids)
      faultPoint('noted')
    } catch (err) {
      safetyCatch(err) // Not known there, as if it were lost: it can be read from the segments again.
    }
  }

  /** Forgets blocks that are about to be cleared. What the disk keeps of their records is zeros. */
  async forget(log: Buffer, start: number, end: number): Promise<void> {
    const handle = this.#handle(log)
    const length = await this.#files[handle].then((file) => file.length()).catch(() => 0)
    const place: Place = { handle, block: 0, slot: 0 }
    for (let at = start; at < Math.min(end, length); at += RECORDS_MAX) {
      const records = await this.#read(log, at, Math.min(RECORDS_MAX, end - at))
      for (let i = 0; i < records.chunks.length; i++) {
        const ids = idsIn(records, i)
        place.block = at + i
        for (place.slot = 0; place.slot * CHUNK_ID_BYTES < ids.byteLength; place.slot++) {
          this.#table.remove(ids, place.slot, place)
        }
      }
    }
    await this.#files[handle].then((file) => file.wipe(start, end)).catch(safetyCatch)
  }

  /** Chunks of consecutive blocks: 0 where a block is no segment, `UNKNOWN` where nothing is known of it. */
  async chunksOf(log: Buffer, first: number, count: number): Promise<Int8Array> {
    return (await this.#read(log, first, count)).chunks
  }

  /** Blocks in [first, first + count) of which nothing is known. */
  async unknown(log: Buffer, first: number, count: number): Promise<number[]> {
    const blocks: number[] = []
    for (let at = 0; at < count; at += RECORDS_MAX) {
      const { chunks } = await this.#read(log, first + at, Math.min(RECORDS_MAX, count - at))
      for (let i = 0; i < chunks.length; i++) if (chunks[i] === UNKNOWN) blocks.push(first + at + i)
    }
    return blocks
  }

  /**
   * Copies the ids of consecutive segments to `out`, 512 bytes each, those that a segment does not have zeros.
   * Returns the blocks of which nothing is known; theirs are zeros.
   */
  async idsOf(log: Buffer, first: number, count: number, out: Buffer): Promise<number[]> {
    const bytes = SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES
    const unknown: number[] = []
    for (let at = 0; at < count; at += RECORDS_MAX) {
      const records = await this.#read(log, first + at, Math.min(RECORDS_MAX, count - at))
      for (let i = 0; i < records.chunks.length; i++) {
        const ids = idsIn(records, i)
        if (records.chunks[i] === UNKNOWN) unknown.push(first + at + i)
        out.fill(0, (at + i) * bytes, (at + i + 1) * bytes)
        ids.copy(out, (at + i) * bytes)
      }
    }
    return unknown
  }

  /** Places of many ids, of those that are stored here. */
  async lookup(ids: Buffer): Promise<Places> {
    const count = ids.byteLength / CHUNK_ID_BYTES
    const words = new Uint32Array(count * 3)
    const hits: number[] = []
    const found: Place = { handle: 0, block: 0, slot: 0 }
    for (let index = 0; index < count; index++) {
      if (!this.#table.get(ids, index, found)) continue
      words[index * 3] = found.handle + 1
      words[index * 3 + 1] = found.block
      words[index * 3 + 2] = found.slot
      hits.push(index)
    }
    hits.sort((a, b) => words[a * 3] - words[b * 3] || words[a * 3 + 1] - words[b * 3 + 1])
    const handles = new Set<number>()
    for (let from = 0; from < hits.length;) {
      const handle = words[hits[from] * 3] - 1
      let to = from + 1
      while (to < hits.length && words[hits[to] * 3] === handle + 1) to++
      const verified = await this.#verify(handle, hits.slice(from, to), ids, words)
      if (verified) handles.add(handle)
      from = to
    }
    return { words, handles }
  }

  /**
   * Looks at what the log's id file and the store say of hits in one log, in the order of blocks. Clears those that
   * prove wrong; says whether any is left.
   */
  async #verify(handle: number, hits: number[], ids: Buffer, words: Uint32Array): Promise<boolean> {
    const log = this.#keys[handle]
    const blocks = [...new Set(hits.map((index) => words[index * 3 + 1]))]
    const stored = await this.#opts.stored(log, blocks)
    let verified = false
    let at = 0
    for (let i = 0; i < blocks.length;) {
      const first = blocks[i]
      let n = 1
      while (n < RECORDS_MAX && blocks[i + n] === first + n) n++
      const records = await this.#read(log, first, n)
      for (; at < hits.length && words[hits[at] * 3 + 1] < first + n; at++) {
        const index = hits[at]
        const block = words[index * 3 + 1]
        const slot = words[index * 3 + 2]
        if (stored[i + block - first] && sameId(idsIn(records, block - first), slot, ids, index)) {
          verified = true
          continue
        }
        this.#table.remove(ids, index, { handle, block, slot })
        words.fill(0, index * 3, index * 3 + 3)
      }
      i += n
    }
    return verified
  }

  async #read(log: Buffer, first: number, count: number): Promise<IdRecords> {
    try {
      return await (await this.#files[this.#handle(log)]).read(first, count)
    } catch (err) {
      safetyCatch(err)
      return { chunks: new Int8Array(count).fill(UNKNOWN), data: EMPTY }
    }
  }

  /** A small number for a log, stable while this object lives. */
  #handle(log: Buffer): number {
    const name = log.toString('hex')
    let handle = this.#handles.get(name)
    if (handle === undefined) {
      const key = Buffer.from(log)
      handle = this.#keys.push(key) - 1
      const file = IdFile.open(path.join(this.#opts.directory, name + ID_FILE_SUFFIX), key)
      file.catch(safetyCatch) // seen by whoever uses it
      this.#files.push(file)
      this.#handles.set(name, handle)
    }
    return handle
  }

  async #load(logs: Buffer[]): Promise<void> {
    for (const log of logs) {
      try {
        await this.#loadLog(log)
      } catch (err) {
        safetyCatch(err) // As if the file were lost.
      }
    }
  }

  async #loadLog(log: Buffer): Promise<void> {
    const handle = this.#handle(log)
    const blocks = await (await this.#files[handle]).length()
    for (let first = 0; first < blocks && !this.closing; first += RECORDS_MAX) {
      const records = await this.#read(log, first, Math.min(RECORDS_MAX, blocks - first))
      for (let i = 0; i < records.chunks.length; i++) {
        const ids = idsIn(records, i)
        for (let slot = 0; slot * CHUNK_ID_BYTES < ids.byteLength; slot++) {
          this.#table.add(ids, slot, handle, first + i, slot)
        }
      }
    }
  }
}

/** The ids in record `i`; none where it is no segment or not known. */
function idsIn({ chunks, data }: IdRecords, i: number): Buffer {
  if (chunks[i] <= 0) return EMPTY
  const at = i * ID_RECORD_BYTES + ID_RECORD_HEADER_BYTES
  return data.subarray(at, at + chunks[i] * CHUNK_ID_BYTES)
}

function sameId(a: Buffer, aIndex: number, b: Buffer, bIndex: number): boolean {
  const at = bIndex * CHUNK_ID_BYTES
  const from = aIndex * CHUNK_ID_BYTES
  if (from + CHUNK_ID_BYTES > a.byteLength) return false
  return a.compare(b, at, at + CHUNK_ID_BYTES, from, from + CHUNK_ID_BYTES) === 0
}
