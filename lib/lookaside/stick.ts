/** One parcel's folder on a stick, open for reading. It proves what it has like a peer, out of its index. */
import { open, readdir, stat, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import type { Proof } from '../format/fetch.ts'
import { STICK_INDEX, STICK_JOURNAL, partName, type StickBlock } from '../format/stick.ts'
import { readIndex, type StickIndex } from './stick-index.ts'

/** Files kept open at once. */
const PARTS_OPEN_MAX = 32

export class Stick {
  readonly folder: string
  readonly index: StickIndex
  /** Of its index files: another one means that somebody filled it anew. */
  readonly stamp: string
  /** Of all its blocks. */
  readonly bytes: number
  readonly #parts = new Map<number, Promise<FileHandle>>()
  /** Blocks that were not what they should be, or not to be read. */
  bad = 0

  private constructor(folder: string, index: StickIndex, stamp: string) {
    this.folder = folder
    this.index = index
    this.stamp = stamp
    this.bytes = index.bytes
  }

  /** Null where it is another fleet's, or no stick. Rejects with `FORMAT_TOO_NEW` or the system's error. */
  static async open(folder: string, key: Buffer): Promise<Stick | null> {
    const stamp = await stampOf(folder)
    if (stamp === null) return null
    const read = await readIndex(folder, key)
    return read === null ? null : new Stick(folder, read.index, stamp)
  }

  async close(): Promise<void> {
    const open = [...this.#parts.values()]
    this.#parts.clear()
    await Promise.allSettled(open.map(async (part) => (await part).close()))
  }

  /** The block with up to `levels` nodes beside its way up. Null where it is not there, or not what it should be. */
  async proveBlock(key: Buffer, block: number, levels: number): Promise<Proof['block']> {
    const log = this.index.log(key)
    const place = log?.blocks.get(block)
    if (log === undefined || place === undefined) return null
    const value = await this.#read(place)
    if (value === null || !log.fits(block, value)) {
      this.bad++
      log.blocks.delete(block) // never tried again: a worn-out medium takes seconds to say no
      return null
    }
    return { index: block, nodes: log.beside(block, levels), value }
  }

  /** Proof of the signed length, for somebody who knows that of `from` blocks. */
  proveLength(key: Buffer, from: number): Pick<Proof, 'upgrade' | 'manifest'> | null {
    const log = this.index.log(key)
    const nodes = log?.cover(from) ?? null
    if (log === undefined || nodes === null) return null
    const { length, signature, manifest } = log
    const upgrade = { start: from, length: length - from, nodes, signature }
    return { upgrade, manifest: from === 0 ? manifest : null }
  }

  async #read({ part, offset, bytes }: StickBlock): Promise<Buffer | null> {
    try {
      const file = await this.#part(part)
      const buffer = Buffer.allocUnsafe(bytes)
      const { bytesRead } = await file.read(buffer, 0, bytes, offset)
      return bytesRead === bytes ? buffer : null
    } catch {
      return null
    }
  }

  #part(part: number): Promise<FileHandle> {
    let file = this.#parts.get(part)
    if (file === undefined) {
      if (this.#parts.size >= PARTS_OPEN_MAX) this.#forget(this.#parts.keys().next().value!)
      file = open(path.join(this.folder, partName(part)), 'r')
      this.#parts.set(part, file)
      file.catch(() => this.#parts.delete(part))
    }
    return file
  }

  /** A read may be under way: its handle closes when it is collected, or with the stick. */
  #forget(part: number): void {
    const file = this.#parts.get(part)
    this.#parts.delete(part)
    setTimeout(() => {
      file?.then((handle) => handle.close()).catch(() => {})
    }, 10_000).unref()
  }
}

/** Changes with every fill; null where nothing is there. Rejects with the system's error, but for what is missing. */
export async function stampOf(folder: string): Promise<string | null> {
  const stamps: string[] = []
  for (const name of [STICK_INDEX, STICK_JOURNAL]) {
    try {
      const { ino, size, mtimeMs } = await stat(path.join(folder, name))
      stamps.push(`${name} ${ino} ${size} ${mtimeMs}`)
    } catch (err) {
      if (!['ENOENT', 'ENOTDIR'].includes((err as NodeJS.ErrnoException).code ?? '')) throw err
    }
  }
  return stamps.length === 0 ? null : stamps.join()
}

/** Folders of parcels on it, of any fleet. */
export async function foldersIn(directory: string): Promise<string[]> {
  const names = await readdir(directory, { withFileTypes: true })
  return names
    .filter((entry) => entry.isDirectory() && /^[0-9a-f]{16}$/.test(entry.name))
    .map((entry) => path.join(directory, entry.name))
    .sort()
}
