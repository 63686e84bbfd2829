/**
 * A block device that an image is copied into, from its start to its end: each leaf of 4 MiB goes into the
 * commit when the copy has passed it, so that no image is ever stored twice. Everything not written is zero.
 */
import type { BlockDevice, BlockExtent } from '../block/device.ts'
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_BYTES, MAP_LEAF_CHUNKS } from '../base/limits.ts'
import type { Commit, VolumeCommit } from '../parcel/commit.ts'

const LEAF_BYTES = MAP_LEAF_CHUNKS * CHUNK_BYTES
/** Leaves being filled or stored at once: the copier writes a few requests at a time. */
const LEAVES_OPEN_MAX = 4

interface OpenLeaf {
  data: Buffer
  present: Uint8Array
}

export class ImportDevice implements BlockDevice {
  readonly size: number
  readonly readOnly = false
  bytesWritten = 0
  readonly #commit: Commit
  readonly #volume: VolumeCommit
  readonly #open = new Map<number, OpenLeaf>()
  readonly #storing = new Set<Promise<void>>()
  /** Buffers to use again. */
  readonly #free: Buffer[] = []
  #closedBelow = 0

  constructor(commit: Commit, volume: VolumeCommit) {
    this.#commit = commit
    this.#volume = volume
    // The copier writes whole sectors, also where the image ends within one.
    this.size = Math.ceil(volume.sizeBytes / CHUNK_BYTES) * CHUNK_BYTES
  }

  pread(target: Buffer): void {
    target.fill(0)
  }

  async pwrite(source: Buffer, offset: number): Promise<void> {
    this.bytesWritten += source.byteLength
    let at = 0
    while (at < source.byteLength) {
      const index = Math.floor((offset + at) / LEAF_BYTES)
      const within = (offset + at) % LEAF_BYTES
      const bytes = Math.min(source.byteLength - at, LEAF_BYTES - within)
      const leaf = this.#leaf(index)
      const last = Math.floor((within + bytes - 1) / CHUNK_BYTES)
      for (const edge of [Math.floor(within / CHUNK_BYTES), last]) {
        const start = edge * CHUNK_BYTES // may be written in part only
        if (leaf.present[edge] === 0) leaf.data.fill(0, start, start + CHUNK_BYTES)
      }
      source.copy(leaf.data, within, at, at + bytes)
      leaf.present.fill(1, Math.floor(within / CHUNK_BYTES), last + 1)
      at += bytes
    }
    if (this.#open.size > LEAVES_OPEN_MAX) await this.#closeOldest()
  }

  flush(): void {}

  trim(): void {}

  writeZeroes(): void {}

  blockStatus(_offset: number, length: number): BlockExtent[] {
    return [{ length, hole: true }]
  }

  /** Stores what is left. */
  async close(): Promise<void> {
    while (this.#open.size > 0) await this.#closeOldest()
    await Promise.all(this.#storing)
  }

  #leaf(index: number): OpenLeaf {
    let leaf = this.#open.get(index)
    if (leaf === undefined) {
      if (index < this.#closedBelow) {
        throw new HyperparcelError('IMPORT_OUT_OF_ORDER', 'The image was not copied in order')
      }
      const data = this.#free.pop() ?? Buffer.allocUnsafeSlow(LEAF_BYTES)
      leaf = { data, present: new Uint8Array(MAP_LEAF_CHUNKS) }
      this.#open.set(index, leaf)
    }
    return leaf
  }

  async #closeOldest(): Promise<void> {
    const index = Math.min(...this.#open.keys())
    const leaf = this.#open.get(index)!
    this.#open.delete(index)
    this.#closedBelow = Math.max(this.#closedBelow, index + 1)
    const storing = this.#store(index, leaf)
    this.#storing.add(storing)
    storing.then(
      () => this.#storing.delete(storing),
      () => {} // stays in the set, so that the next wait sees it
    )
    if (this.#storing.size >= LEAVES_OPEN_MAX) await Promise.race(this.#storing)
  }

  async #store(index: number, leaf: OpenLeaf): Promise<void> {
    const places: number[] = []
    for (let place = 0; place < MAP_LEAF_CHUNKS; place++) {
      if (leaf.present[place] === 0) continue
      const from = place * CHUNK_BYTES
      leaf.data.copyWithin(places.length * CHUNK_BYTES, from, from + CHUNK_BYTES)
      places.push(place)
    }
    const data = leaf.data.subarray(0, places.length * CHUNK_BYTES)
    const back = await this.#commit.addLeaf(this.#volume, { index, places, data, zeros: [] })
    this.#free.push(Buffer.from(back.buffer))
  }
}
