/** A raw disk image as the changes of a new volume: only what is no hole is read, straight into the commit's buffers. */
import { open, type FileHandle } from 'node:fs/promises'
import { CHUNK_BYTES } from '../base/limits.ts'
import { HyperparcelError } from '../base/errors.ts'
import { readPadded } from '../base/read-padded.ts'
import type { FrozenChunks } from './frozen-commit.ts'
import { dataExtents, type Extent } from './qemu-img.ts'

export class RawImage implements FrozenChunks {
  readonly dirtyBytes: number
  readonly #file: string
  readonly #handle: FileHandle
  readonly #extents: Extent[]

  private constructor(file: string, handle: FileHandle, extents: Extent[]) {
    this.#file = file
    this.#handle = handle
    this.#extents = extents
    this.dirtyBytes = extents.reduce((sum, { count }) => sum + count, 0) * CHUNK_BYTES
  }

  /** Rejects with `IMAGE_UNREADABLE`. */
  static async open(file: string, sizeBytes: number, signal: AbortSignal): Promise<RawImage> {
    const extents = await dataExtents(file, sizeBytes, signal)
    const handle = await open(file, 'r').catch((err: unknown) => {
      throw unreadable(file, err)
    })
    return new RawImage(file, handle, extents)
  }

  *runs(): Iterable<{ first: number; count: number; zero: boolean }> {
    for (const { first, count } of this.#extents) yield { first, count, zero: false }
  }

  /** What is behind the end of the file reads as zeros. */
  async read(first: number, count: number, target: Buffer): Promise<void> {
    try {
      const part = target.subarray(0, count * CHUNK_BYTES)
      await readPadded(this.#handle, part, first * CHUNK_BYTES)
    } catch (err) {
      throw unreadable(this.#file, err)
    }
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}

function unreadable(file: string, cause: unknown): HyperparcelError {
  const reason = (cause as Error).message
  return new HyperparcelError('IMAGE_UNREADABLE', `${file} cannot be read: ${reason}`, { cause })
}
