/**
 * What chunks are stored here, and where: the dedup index of a device.
 *
 * - `add` is called for every segment that was appended or arrived; it writes the log's id file and the table.
 * - A hit is offered only when the whole id matches and the block is really stored here (`isStored`), so a commit
 *   never references what is not.
 * - Everything here can be rebuilt from sealed segments with the id keys (`missing` says for which blocks).
 */
import { mkdirSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import ReadyResource from 'ready-resource'
import { CHUNK_ID_BYTES } from '../base/limits.ts'
import { IdFile } from './id-file.ts'
import { IdTable, type Place } from './id-table.ts'

export interface DedupIndexOptions {
  directory: string
  /** Is that block of that log stored here? Synchronous or not. */
  isStored(log: Buffer, block: number): boolean | Promise<boolean>
}

export class DedupIndex extends ReadyResource {
  readonly #opts: DedupIndexOptions
  readonly #table = new IdTable()
  readonly #files: IdFile[] = []
  readonly #keys: Buffer[] = []
  readonly #handles = new Map<string, number>()

  constructor(opts: DedupIndexOptions) {
    super()
    this.#opts = opts
  }

  protected override async _open(): Promise<void> {
    mkdirSync(this.#opts.directory, { recursive: true, mode: 0o700 })
    for (const name of await readdir(this.#opts.directory)) {
      if (!/^[0-9a-f]{64}\.ids$/.test(name)) continue
      const key = Buffer.from(name.slice(0, 64), 'hex')
      const handle = this.handle(key)
      for (const { block, ids } of this.#files[handle].scan()) this.#insert(handle, block, ids)
    }
  }

  protected override async _close(): Promise<void> {
    for (const file of this.#files) file.close()
  }

  /** Chunks with a known place. */
  get chunks(): number {
    return this.#table.count
  }

  /** A small number for a log, stable while this object lives. */
  handle(log: Buffer): number {
    const name = log.toString('hex')
    let handle = this.#handles.get(name)
    if (handle === undefined) {
      handle = this.#files.length
      this.#files.push(new IdFile(path.join(this.#opts.directory, `${name}.ids`)))
      this.#keys.push(Buffer.from(log))
      this.#handles.set(name, handle)
    }
    return handle
  }

  keyOf(handle: number): Buffer {
    return this.#keys[handle]
  }

  /** Remembers the ids (32 bytes each) of a segment that is stored here. */
  add(log: Buffer, block: number, ids: Buffer): void {
    const handle = this.handle(log)
    this.#files[handle].put(block, ids)
    this.#insert(handle, block, ids)
  }

  /** The ids of the segment in that block, or null when they are not known here. */
  idsOf(log: Buffer, block: number): Buffer | null {
    return this.#files[this.handle(log)].get(block)
  }

  /** Places of many ids; null for those not stored here. */
  async lookup(ids: Buffer): Promise<(Place | null)[]> {
    const count = ids.byteLength / CHUNK_ID_BYTES
    const places: (Place | null)[] = new Array<Place | null>(count).fill(null)
    for (let i = 0; i < count; i++) {
      const place = { handle: 0, block: 0, slot: 0 }
      if (!this.#table.get(ids, i, place)) continue
      const stored = this.#files[place.handle].get(place.block)
      if (stored === null || !sameId(stored, place.slot, ids, i)) continue
      const here = this.#opts.isStored(this.#keys[place.handle], place.block)
      if (here === true || (here !== false && (await here))) places[i] = place
    }
    return places
  }

  #insert(handle: number, block: number, ids: Buffer): void {
    const count = ids.byteLength / CHUNK_ID_BYTES
    for (let slot = 0; slot < count; slot++) this.#table.add(ids, slot, { handle, block, slot })
  }
}

function sameId(a: Buffer, aIndex: number, b: Buffer, bIndex: number): boolean {
  const at = bIndex * CHUNK_ID_BYTES
  const from = aIndex * CHUNK_ID_BYTES
  if (from + CHUNK_ID_BYTES > a.byteLength) return false
  return a.compare(b, at, at + CHUNK_ID_BYTES, from, from + CHUNK_ID_BYTES) === 0
}
