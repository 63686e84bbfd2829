/** Finds chunks by their ids in seeds and reads them. What it returns is not checked: a file may have changed meanwhile. */
import { open, type FileHandle } from 'node:fs/promises'
import { CHUNK_BYTES, CHUNK_ID_BYTES } from '../../base/limits.ts'
import { readPadded } from '../../base/read-padded.ts'
import { isSame, type SeedFile } from './seed-files.ts'
import { SeedIndex } from './seed-index.ts'

/** Files open at once. */
const OPEN_MAX = 32

interface Place {
  seed: number
  file: SeedFile
  chunk: number
}

export class SeedReader {
  readonly #indexes: (SeedIndex | null)[]
  readonly #open = new Map<string, FileHandle>()

  /** @param indexes files of indexes; one that is damaged has nothing. */
  constructor(indexes: string[]) {
    this.#indexes = indexes.map((file) => {
      try {
        return SeedIndex.open(file)
      } catch {
        return null
      }
    })
  }

  /** Where all chunks with these ids should be; null when one of them is nowhere. */
  find(ids: Buffer): Place[] | null {
    const places: Place[] = []
    for (let at = 0; at < ids.byteLength; at += CHUNK_ID_BYTES) {
      const place = this.#find(ids, at)
      if (place === null) return null
      places.push(place)
    }
    return places
  }

  /** Reads them into `target`; false when one cannot be read, or its file is not as it was. */
  async read(places: Place[], target: Buffer): Promise<boolean> {
    try {
      for (let i = 0; i < places.length;) {
        const { file, chunk, seed } = places[i]
        let count = 1
        while (i + count < places.length) {
          const next = places[i + count]
          if (next.seed !== seed || next.file !== file || next.chunk !== chunk + count) break
          count++
        }
        const handle = await this.#handle(file)
        if (handle === null) return false
        const part = target.subarray(i * CHUNK_BYTES, (i + count) * CHUNK_BYTES)
        await readPadded(handle, part, chunk * CHUNK_BYTES)
        i += count
      }
      return true
    } catch {
      return false
    }
  }

  async close(): Promise<void> {
    for (const index of this.#indexes) index?.close()
    for (const handle of this.#open.values()) await handle.close()
    this.#open.clear()
  }

  #find(ids: Buffer, at: number): Place | null {
    for (const [seed, index] of this.#indexes.entries()) {
      const number = index?.find(ids, at) ?? -1
      const place = number < 0 ? null : index!.place(number)
      if (place !== null) return { seed, ...place }
    }
    return null
  }

  /** Null when the file is not as it was. */
  async #handle(file: SeedFile): Promise<FileHandle | null> {
    let handle = this.#open.get(file.path)
    if (handle === undefined) {
      handle = await open(file.path, 'r')
      this.#open.set(file.path, handle)
      if (this.#open.size > OPEN_MAX) {
        const [oldest, old] = this.#open.entries().next().value!
        this.#open.delete(oldest)
        await old.close()
      }
    }
    return isSame(file, await handle.stat()) ? handle : null
  }
}
