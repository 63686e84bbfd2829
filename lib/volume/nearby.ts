/**
 * Which segments have chunks near what a guest missed last, in the volume. Plain decisions, no I/O. (Neighbours in the
 * log, which were stored together, add nothing to them: measured.)
 *
 * Around each miss a stretch of chunks is walked, up faster than down; a miss in a stretch, or at its edge, makes it
 * longer and the most recent one. The most recent stretch is walked to its end before those before it.
 */
import { MAP_LEAF_CHUNKS } from '../base/limits.ts'
import { refLog, type MapLeaf } from '../format/map.ts'
import { segmentName } from './segment-cache.ts'
import type { SegmentPlace } from './segment-loader.ts'

/** The map of a volume, as far as it is in memory. */
export interface Terrain {
  readonly chunks: number
  leafIfLoaded(index: number): MapLeaf | undefined
}

/** Chunks: 512 KiB, and 4 MiB. */
const REACH_MIN = 128
const REACH_MAX = 1024
/** A stretch reaches that much further up than down. */
const UP_SHARE = 3
const STRETCHES_MAX = 64
/** A miss that far beyond a stretch belongs to it. */
const EDGE_CHUNKS = 16
/** Names remembered, so that nothing is asked for twice: some megabytes. */
const KNOWN_MAX = 1 << 17

interface Stretch {
  map: Terrain
  /** Walked so far: [low, high). */
  low: number
  high: number
  /** To be walked: [from, to). */
  from: number
  to: number
  reach: number
}

export class Nearby {
  /** The most recent one last. */
  readonly #stretches: Stretch[] = []
  readonly #known = new Set<number>()
  /** Found already, and not named yet. */
  #held: SegmentPlace | null = null

  /** A guest had to wait for chunk `chunk`; its leaf is in memory. */
  missed(map: Terrain, chunk: number): void {
    const at = this.#stretches.findIndex(
      (one) => one.map === map && chunk >= one.from - EDGE_CHUNKS && chunk < one.to + EDGE_CHUNKS
    )
    let stretch: Stretch
    if (at >= 0) {
      ;[stretch] = this.#stretches.splice(at, 1)
      stretch.reach = Math.min(REACH_MAX, stretch.reach * 2)
    } else {
      stretch = { map, low: chunk, high: chunk, from: chunk, to: chunk, reach: REACH_MIN }
      if (this.#stretches.length === STRETCHES_MAX) this.#stretches.shift()
    }
    stretch.from = Math.max(0, Math.min(stretch.from, chunk - Math.floor(stretch.reach / UP_SHARE)))
    stretch.to = Math.min(map.chunks, Math.max(stretch.to, chunk + stretch.reach))
    this.#stretches.push(stretch)
  }

  /** The segment to get next, which was not named before; null when there is none, or the next is of another log. */
  next(log?: number): SegmentPlace | null {
    const place = this.#held ?? this.#take()
    this.#held = null
    if (place === null || log === undefined || place.log === log) return place
    this.#held = place
    return null
  }

  #take(): SegmentPlace | null {
    for (let i = this.#stretches.length - 1; i >= 0; i--) {
      const place = this.#walk(this.#stretches[i])
      if (place !== null) return place
      this.#stretches.splice(i, 1)
    }
    return null
  }

  /** Nothing near the misses so far is worth a look. */
  forget(): void {
    this.#stretches.length = 0
    this.#held = null
  }

  /** That segment is here or on its way, by another way. */
  know(name: number): void {
    if (this.#known.size >= KNOWN_MAX) this.#known.clear()
    this.#known.add(name)
  }

  #walk(stretch: Stretch): SegmentPlace | null {
    while (stretch.high < stretch.to || stretch.low > stretch.from) {
      const up = stretch.high < stretch.to
      const upward = stretch.high - stretch.from <= UP_SHARE * (stretch.to - stretch.low)
      const chunk = up && (upward || stretch.low <= stretch.from) ? stretch.high++ : --stretch.low
      const place = this.#placeOf(stretch.map, chunk)
      if (place === null) continue
      const name = segmentName(place.log, place.block)
      if (this.#known.has(name)) continue
      this.know(name)
      return place
    }
    return null
  }

  #placeOf(map: Terrain, chunk: number): SegmentPlace | null {
    const leaf = map.leafIfLoaded(Math.floor(chunk / MAP_LEAF_CHUNKS))
    const ref = leaf?.refs[chunk % MAP_LEAF_CHUNKS] ?? 0
    if (ref === 0) return null
    return { log: refLog(ref), block: leaf!.blocks[chunk % MAP_LEAF_CHUNKS] }
  }
}
