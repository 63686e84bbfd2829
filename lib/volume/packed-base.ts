/**
 * A volume of a version, read out of a resume pack as far as that goes, else through its map. What is in memory is
 * answered at once, without a promise.
 */
import { CHUNK_BYTES } from '../base/limits.ts'
import { PACK_NONE, PACK_ZERO, type PackVolume } from '../parcel/pack-index.ts'
import type { VolumeBase } from './base.ts'
import type { PackSource } from './pack-source.ts'

export class PackedBase implements VolumeBase {
  readonly #base: VolumeBase
  readonly #pack: PackSource
  readonly #volume: PackVolume

  constructor(base: VolumeBase, pack: PackSource, volume: PackVolume) {
    this.#base = base
    this.#pack = pack
    this.#volume = volume
  }

  get sizeBytes(): number {
    return this.#base.sizeBytes
  }

  run(first: number, max: number): { count: number; zero: boolean } {
    return this.#base.run(first, max)
  }

  read(first: number, count: number, target: Buffer): void | Promise<void> {
    if (this.#pack.ended) return this.#base.read(first, count, target)
    let waits: Promise<void>[] | null = null
    for (let i = 0; i < count;) {
      const place = this.#volume.find(first + i)
      const to = i * CHUNK_BYTES
      let n = 1
      let wait: void | Promise<void> = undefined
      if (place === PACK_ZERO) {
        target.fill(0, to, to + CHUNK_BYTES)
      } else if (place === PACK_NONE) {
        while (i + n < count && this.#volume.find(first + i + n) === PACK_NONE) n++
        wait = this.#base.read(first + i, n, target.subarray(to, to + n * CHUNK_BYTES))
      } else if (!this.#pack.copy(place, target, to)) {
        wait = this.#wait(place, first + i, target, to)
      }
      if (wait !== undefined) (waits ??= []).push(wait)
      i += n
    }
    return waits === null ? undefined : settled(waits)
  }

  async #wait(place: number, chunk: number, target: Buffer, to: number): Promise<void> {
    if ((await this.#pack.wait(place)) && this.#pack.copy(place, target, to)) return
    await this.#base.read(chunk, 1, target.subarray(to, to + CHUNK_BYTES))
  }
}

/** All have ended, so nobody writes to the target any more; rejects with the first failure. */
async function settled(waits: Promise<void>[]): Promise<void> {
  if (waits.length === 1) return waits[0]
  for (const end of await Promise.allSettled(waits)) {
    if (end.status === 'rejected') throw end.reason
  }
}
