/**
 * A resume pack, opened: where in it a chunk of a volume is.
 *
 * A pack counts volume by volume: where the content root is that of the version at hand, whatever version it was made
 * for. That its chunks are those of the version is the word of its author, a device of the fleet, in a log that it
 * signed and under the parcel's keys: the same word that a version's maps are believed on, reissued ones too. What
 * leaves its segments is checked against the chunk ids in them all the same.
 */
import { HyperparcelError } from '../base/errors.ts'
import { SEGMENT_CHUNKS_MAX } from '../base/limits.ts'
import { openBlock } from '../chunk/sealed-block.ts'
import {
  PACK_HEAD_BYTES_MAX,
  decodePackHead,
  packChunks,
  packSegments,
  type PackHead,
  type PackRun
} from '../format/pack.ts'
import { KIND } from '../format/sealed.ts'
import type { VersionRecord } from '../format/version.ts'
import type { BlockPlace } from './reissued-version.ts'

/** The chunk is all zeros, or not in the pack. */
export const PACK_ZERO = -2
export const PACK_NONE = -1

/** The payload of a sealed head. Throws `DATA_CORRUPT`, `FORMAT_INVALID`, `FORMAT_TOO_NEW`. */
export function openPackHead(sealed: Buffer, { log, block }: BlockPlace, metaKey: Buffer): Buffer {
  return openBlock(KIND.ANNEX, sealed, log, block, metaKey, PACK_HEAD_BYTES_MAX)
}

/** Blocks of a pack: its head, then its segments. */
export function packBlocks(head: PackHead, { block }: BlockPlace): number[] {
  return Array.from({ length: packSegments(head) + 1 }, (_, i) => block + i)
}

/** Segments that hold the part up to the answer. */
export function answerSegments({ answered }: PackHead): number {
  return Math.ceil(answered / SEGMENT_CHUNKS_MAX)
}

/** Chunks of one volume in a pack. */
export class PackVolume {
  readonly #places = new Map<number, number>()
  /** Ascending, pairs of first and end. */
  readonly #zeros: number[] = []

  constructor(places: Map<number, number>, zeros: PackRun[]) {
    this.#places = places
    for (const { first, count } of zeros.toSorted((a, b) => a.first - b.first)) {
      this.#zeros.push(first, first + count)
    }
  }

  /** Chunks of it that have data. */
  get chunks(): IterableIterator<number> {
    return this.#places.keys()
  }

  /** The chunk's place among all of the pack, `PACK_ZERO` or `PACK_NONE`. */
  find(chunk: number): number {
    return this.#places.get(chunk) ?? (this.#isZero(chunk) ? PACK_ZERO : PACK_NONE)
  }

  #isZero(chunk: number): boolean {
    let low = 0
    let high = this.#zeros.length / 2
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#zeros[2 * middle + 1] <= chunk) low = middle + 1
      else high = middle
    }
    return 2 * low < this.#zeros.length && this.#zeros[2 * low] <= chunk
  }
}

export class PackIndex {
  readonly head: PackHead
  readonly chunks: number
  readonly segments: number
  readonly #volumes = new Map<string, PackVolume>()

  /** Throws `DATA_CORRUPT` where no volume of the pack is one of that version. */
  constructor(head: PackHead, { volumes }: Pick<VersionRecord, 'volumes'>) {
    this.head = head
    this.chunks = packChunks(head)
    this.segments = packSegments(head)
    const places = head.volumes.map(() => new Map<number, number>())
    let place = 0
    for (const { volume, first, count } of head.runs) {
      for (let i = 0; i < count; i++) places[volume].set(first + i, place++)
    }
    for (const [number, { name, root }] of head.volumes.entries()) {
      const known = volumes.find((volume) => volume.name === name)
      if (known === undefined || !sameRoot(root, known.root?.hash ?? null)) continue
      const zeros = head.zeros.filter(({ volume }) => volume === number)
      this.#volumes.set(name, new PackVolume(places[number], zeros))
    }
    if (this.#volumes.size > 0) return
    throw new HyperparcelError('DATA_CORRUPT', 'A resume pack is of no volume of this version')
  }

  /** Null where nothing in the pack is of that volume as the version has it. */
  volume(name: string): PackVolume | null {
    return this.#volumes.get(name) ?? null
  }

  /** Chunks of a segment of it. */
  chunksIn(segment: number): number {
    return Math.min(SEGMENT_CHUNKS_MAX, this.chunks - segment * SEGMENT_CHUNKS_MAX)
  }
}

/** Throws as `openPackHead` and `PackIndex` do. */
export function readPack(payload: Buffer, record: VersionRecord): PackIndex {
  return new PackIndex(decodePackHead(payload), record)
}

function sameRoot(a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b)
}
