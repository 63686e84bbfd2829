/**
 * A volume of a version as a base: chunks are looked up in its map and come out of segments.
 *
 *   read ─▶ map leaf (in memory? else load) ─▶ segment (cached? else fetch and open) ─▶ copy
 *
 * What is in memory is answered at once, without a promise. Missing data is waited for; data that does not verify
 * rejects with `DATA_CORRUPT`. Zeros are read only where the map says so.
 */
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_BYTES, MAP_LEAF_CHUNKS, SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import { refLog, refSlot, type MapLeaf } from '../format/map.ts'
import { isZeroLeaf, type VolumeMap } from '../parcel/volume-map.ts'
import type { VolumeBase } from './base.ts'
import type { NearPrefetch } from './near-prefetch.ts'
import { ReadAhead } from './read-ahead.ts'
import { segmentName, type SegmentCache } from './segment-cache.ts'
import { SegmentLoader, type SegmentLoaderOptions, type SegmentPlace } from './segment-loader.ts'

export interface MapBaseOptions extends SegmentLoaderOptions {
  sizeBytes: number
  map: VolumeMap
  /** Gets what is near a miss; without one nothing is. */
  near?: NearPrefetch
}

/** Chunks of one missing segment, by runs: chunk offset in the read, slot, number. */
interface Missing {
  place: SegmentPlace
  uses: number[]
}

export class MapBase implements VolumeBase {
  readonly sizeBytes: number
  readonly #map: VolumeMap
  readonly #cache: SegmentCache
  readonly #loader: SegmentLoader
  readonly #near: NearPrefetch | null
  readonly #ahead = new ReadAhead()

  constructor(options: MapBaseOptions) {
    this.sizeBytes = options.sizeBytes
    this.#map = options.map
    this.#cache = options.cache
    this.#near = options.near ?? null
    this.#loader = new SegmentLoader(options)
  }

  read(first: number, count: number, target: Buffer): void | Promise<void> {
    const ahead = this.#ahead.note(first, count)
    let done = 0
    // As far as it goes without waiting.
    while (done < count) {
      const leaf = this.#map.leafIfLoaded(Math.floor((first + done) / MAP_LEAF_CHUNKS))
      if (leaf === undefined) break
      const n = leafPart(first + done, count - done)
      const missing = this.#copy(leaf, first + done, n, target, done)
      if (missing !== null) break
      done += n
    }
    const rest = done === count ? undefined : this.#readRest(first, done, count, target)
    if (ahead !== null) this.#fetchAhead(ahead.first, ahead.count)
    return rest
  }

  run(first: number, max: number): { count: number; zero: boolean } {
    if (this.#map.root === null) return { count: max, zero: true }
    let zero = false
    let count = 0
    while (count < max) {
      const chunk = first + count
      const n = leafPart(chunk, max - count)
      const leaf = this.#map.leafIfLoaded(Math.floor(chunk / MAP_LEAF_CHUNKS))
      const alike = leaf === undefined ? n : alikeIn(leaf, chunk % MAP_LEAF_CHUNKS, n)
      const isZero = leaf !== undefined && leaf.refs[chunk % MAP_LEAF_CHUNKS] === 0
      if (count === 0) zero = isZero
      else if (isZero !== zero) break
      count += alike
      if (alike < n) break
    }
    return { count, zero }
  }

  /** Leaf by leaf, so that one read never holds more segments than one leaf refers to. */
  async #readRest(first: number, from: number, count: number, target: Buffer): Promise<void> {
    for (let done = from; done < count;) {
      const chunk = first + done
      const n = leafPart(chunk, count - done)
      const leaf = await this.#map.loadLeaf(Math.floor(chunk / MAP_LEAF_CHUNKS))
      const missing = this.#copy(leaf, chunk, n, target, done)
      if (missing !== null) await this.#fetch(missing, target, done, chunk)
      done += n
    }
  }

  /** Copies what is in memory; returns what is not. */
  #copy(
    leaf: MapLeaf,
    first: number,
    count: number,
    target: Buffer,
    into: number
  ): Map<number, Missing> | null {
    if (isZeroLeaf(leaf)) {
      target.fill(0, into * CHUNK_BYTES, (into + count) * CHUNK_BYTES)
      return null
    }
    let missing: Map<number, Missing> | null = null
    for (let i = 0; i < count;) {
      const at = (first + i) % MAP_LEAF_CHUNKS
      const ref = leaf.refs[at]
      const n = runIn(leaf, at, count - i)
      const to = (into + i) * CHUNK_BYTES
      const name = segmentName(refLog(ref), leaf.blocks[at])
      const segment = ref === 0 ? undefined : this.#cache.get(name)
      if (ref === 0) {
        target.fill(0, to, to + n * CHUNK_BYTES)
      } else if (segment !== undefined) {
        copyChunks(segment, refSlot(ref), n, target, to)
      } else {
        missing ??= new Map()
        const known = missing.get(name)
        const uses = [i, refSlot(ref), n]
        if (known !== undefined) known.uses.push(...uses)
        else missing.set(name, { place: { log: refLog(ref), block: leaf.blocks[at] }, uses })
      }
      i += n
    }
    return missing
  }

  /** Each segment is copied from as soon as it is here; ends when all have ended. */
  #fetch(
    missing: Map<number, Missing>,
    target: Buffer,
    into: number,
    chunk: number
  ): Promise<void> {
    const wanted = [...missing.values()]
    const places = wanted.map(({ place }) => place)
    const use = (index: number, segment: Buffer) => {
      const { uses } = wanted[index]
      for (let u = 0; u < uses.length; u += 3) {
        copyChunks(segment, uses[u + 1], uses[u + 2], target, (into + uses[u]) * CHUNK_BYTES)
      }
    }
    return this.#loader.load(places, use, () => this.#near?.missed(this.#map, chunk, places))
  }

  /** Nobody waits for it; an error comes back when somebody reads there. */
  #fetchAhead(first: number, count: number): void {
    const end = Math.min(first + count, this.#map.chunks)
    for (let chunk = first; chunk < end;) {
      const n = leafPart(chunk, end - chunk)
      const index = Math.floor(chunk / MAP_LEAF_CHUNKS)
      const leaf = this.#map.leafIfLoaded(index)
      if (leaf === undefined) this.#map.loadLeaf(index).catch(safetyCatch)
      else if (!isZeroLeaf(leaf)) this.#fetchPart(leaf, chunk, n)
      chunk += n
    }
  }

  #fetchPart(leaf: MapLeaf, first: number, count: number): void {
    let places: Map<number, SegmentPlace> | null = null
    for (let i = 0; i < count;) {
      const at = (first + i) % MAP_LEAF_CHUNKS
      const ref = leaf.refs[at]
      const place = { log: refLog(ref), block: leaf.blocks[at] }
      const name = segmentName(place.log, place.block)
      if (ref !== 0 && !this.#cache.has(name)) (places ??= new Map()).set(name, place)
      i += runIn(leaf, at, count - i)
    }
    if (places !== null) this.#loader.load([...places.values()], () => {}).catch(safetyCatch)
  }
}

/** Chunks from `chunk` on in the same leaf. */
function leafPart(chunk: number, max: number): number {
  return Math.min(max, MAP_LEAF_CHUNKS - (chunk % MAP_LEAF_CHUNKS))
}

/** Chunks from `at` on, at most `max`, that are all zeros or lie in a row in one segment. */
function runIn({ refs, blocks }: MapLeaf, at: number, max: number): number {
  const ref = refs[at]
  const step = ref === 0 ? 0 : 1
  const most = ref === 0 ? max : Math.min(max, SEGMENT_CHUNKS_MAX - refSlot(ref))
  let count = 1
  while (count < most && refs[at + count] === ref + step * count) {
    if (step === 1 && blocks[at + count] !== blocks[at]) break
    count++
  }
  return count
}

function alikeIn(leaf: MapLeaf, at: number, max: number): number {
  if (isZeroLeaf(leaf)) return max
  const zero = leaf.refs[at] === 0
  let count = 1
  while (count < max && (leaf.refs[at + count] === 0) === zero) count++
  return count
}

function copyChunks(
  segment: Buffer,
  slot: number,
  count: number,
  target: Buffer,
  to: number
): void {
  const at = slot * CHUNK_BYTES
  const end = at + count * CHUNK_BYTES
  if (end > segment.byteLength) {
    throw new HyperparcelError('DATA_CORRUPT', 'A map names a chunk that its segment does not have')
  }
  segment.copy(target, to, at, end)
}
