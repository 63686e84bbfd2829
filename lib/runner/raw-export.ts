/**
 * A volume of a version as a raw image: leaf after leaf of its map, some at once, each read whole and written where it
 * belongs. Chunks of zeros stay holes.
 */
import { open, type FileHandle } from 'node:fs/promises'
import { CHUNK_BYTES, MAP_LEAF_CHUNKS } from '../base/limits.ts'
import { HyperparcelError } from '../base/errors.ts'
import type { MapLeaf } from '../format/map.ts'
import type { VolumeMap } from '../parcel/volume-map.ts'
import type { VolumeBase } from '../volume/base.ts'

/** Leaves under way at once, 4 MiB each: one is written while others are read. */
const LANES = 3

/**
 * `file` is empty. Rejects with `EXPORT_FAILED` where it cannot be written, with what a read failed with, or at once
 * with the signal's reason: a read that waits for a peer may never end, and writes nothing then.
 */
export async function exportRaw(
  map: VolumeMap,
  base: VolumeBase,
  file: string,
  signal: AbortSignal
): Promise<void> {
  signal.throwIfAborted()
  const handle = await open(file, 'r+').catch(failed)
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
  aborted.catch(() => {}) // seen below, if it comes in time
  try {
    await handle.truncate(base.sizeBytes).catch(failed)
    const copied = copyLeaves(map, base, handle, signal)
    copied.catch(() => {}) // when it was left behind
    await Promise.race([copied, aborted])
  } finally {
    await handle.close() // after writes under way; later ones fail
  }
}

async function copyLeaves(
  map: VolumeMap,
  base: VolumeBase,
  handle: FileHandle,
  signal: AbortSignal
): Promise<void> {
  const idle = Array.from({ length: LANES }, () => new Lane(base, handle))
  const busy = new Set<Promise<unknown>>()
  let failure: Error | null = null
  for await (const { index, leaf } of map.dataLeaves()) {
    while (idle.length === 0) await Promise.race(busy)
    if (failure !== null) throw failure as Error
    signal.throwIfAborted()
    const lane = idle.pop()!
    const copied: Promise<unknown> = lane
      .copy(index * MAP_LEAF_CHUNKS, runsOf(leaf))
      .catch((err: Error) => (failure ??= err))
      .finally(() => {
        busy.delete(copied)
        idle.push(lane)
      })
    busy.add(copied)
  }
  await Promise.all(busy)
  if (failure !== null) throw failure as Error
}

/** One leaf at a time, in memory of its own. */
class Lane {
  readonly #base: VolumeBase
  readonly #handle: FileHandle
  readonly #memory = Buffer.allocUnsafeSlow(MAP_LEAF_CHUNKS * CHUNK_BYTES)

  constructor(base: VolumeBase, handle: FileHandle) {
    this.#base = base
    this.#handle = handle
  }

  async copy(first: number, runs: number[]): Promise<void> {
    const end = runs.at(-1)!
    await this.#base.read(first + runs[0], end - runs[0], this.#memory)
    for (let r = 0; r < runs.length; r += 2) {
      const from = (runs[r] - runs[0]) * CHUNK_BYTES
      const at = (first + runs[r]) * CHUNK_BYTES
      const length = Math.min((runs[r + 1] - runs[r]) * CHUNK_BYTES, this.#base.sizeBytes - at)
      await this.#write(this.#memory.subarray(from, from + length), at)
    }
  }

  async #write(data: Buffer, at: number): Promise<void> {
    for (let done = 0; done < data.byteLength;) {
      const left = data.byteLength - done
      done += (await this.#handle.write(data, done, left, at + done).catch(failed)).bytesWritten
    }
  }
}

/** Start and end of each run of chunks that are not zeros, one after the other. */
function runsOf({ refs }: MapLeaf): number[] {
  const runs: number[] = []
  for (let i = 0; i < refs.length; i++) {
    if (refs[i] === 0) continue
    if (runs.at(-1) === i) runs[runs.length - 1] = i + 1
    else runs.push(i, i + 1)
  }
  return runs
}

function failed(cause: NodeJS.ErrnoException): never {
  const reason = cause.code === 'ENOSPC' ? 'the disk is full' : cause.message
  throw new HyperparcelError('EXPORT_FAILED', `The image cannot be written: ${reason}`, {
    hint: 'Check that there is room and that you may write there.',
    cause
  })
}
