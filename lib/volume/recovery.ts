/**
 * Finds out what an overlay file holds after a crash: of each chunk, the authentic slot with the highest sequence. A
 * slot that is not authentic was torn when the power failed, and is as if it had never been: the slot that it was to
 * replace is still there, because slots are reused only after a sync and a claim that cover their successors.
 *
 * Unless the header's claim says otherwise (see `live-slots.ts`): what it counts was on the disk. If that is not found
 * among the authentic slots, the disk lost it. Broken slots whose header is left are then counted too; if the claim
 * holds with them, exactly those are damaged: they keep their place, and reading them is an error. A tombstone is whole
 * again then, for it has nothing but its header. If the claim still does not hold, a chunk that nobody can name has
 * older content, and the overlay is refused.
 */
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_BYTES } from '../base/limits.ts'
import { SLOT_KIND, type OverlayHeader } from '../format/overlay.ts'
import { ChunkMap } from './chunk-map.ts'
import { SlotMarker, type MarkSum } from './live-slots.ts'
import type { OverlayFile } from './overlay-file.ts'
import { layOut } from './slot-layout.ts'
import { scanSlots, type ScannedSlots } from './slot-scan.ts'

export interface Recovered {
  map: ChunkMap
  /** Slot → sequence, 0 where a slot is free. */
  sequences: Float64Array
  /** Slot → two words, its mark. */
  marks: Int32Array
  /** Of the slots that are not free. */
  sum: MarkSum
  /** Tombstone slot → chunks that still depend on it. */
  tombstones: Map<number, number>
  /** The highest sequence in the file, in use or not. */
  lastSequence: number
  /** Chunks that cannot be read. */
  damagedChunks: number
  /** Free slots of which something is left that looks like a write. */
  torn: number[]
}

export const nothingRecovered = (sizeBytes: number): Recovered => ({
  map: new ChunkMap(Math.ceil(sizeBytes / CHUNK_BYTES)),
  sequences: new Float64Array(0),
  marks: new Int32Array(0),
  sum: { low: 0, high: 0 },
  tombstones: new Map(),
  lastSequence: 0,
  damagedChunks: 0,
  torn: []
})

/**
 * @param header as it is on the disk
 * @param floor slots up to here are part of a version; at least the header's
 */
export async function recoverSlots(
  file: OverlayFile,
  header: OverlayHeader,
  key: Buffer,
  floor: number
): Promise<Recovered> {
  const chunks = Math.ceil(header.sizeBytes / CHUNK_BYTES)
  const marker = new SlotMarker(key)
  const scanned = await scanSlots(file, header, key, marker)
  const usable = usableSlots(scanned, header, marker, chunks)
  const { map, tombstones, live, sum } = layOut(scanned, chunks, floor, Infinity, usable)
  const sequences = new Float64Array(live.length)
  const torn: number[] = []
  let damagedChunks = 0
  for (let slot = 0; slot < live.length; slot++) {
    const broken = scanned.broken[slot] === 1
    if (live[slot] === 1) sequences[slot] = scanned.sequences[slot]
    else if (broken) torn.push(slot)
    if (live[slot] === 1 && broken && scanned.kinds[slot] === SLOT_KIND.DATA) damagedChunks++
  }
  return {
    map,
    sequences,
    marks: scanned.marks,
    sum,
    tombstones,
    lastSequence: Math.max(
      scanned.lastSequence,
      header.floorSequence,
      header.commitSequence,
      header.claim?.sequence ?? 0
    ),
    damagedChunks,
    torn
  }
}

/** Slots that count, with 1. Throws `DATA_CORRUPT`. */
function usableSlots(
  scanned: ScannedSlots,
  { claim, floorSequence, name }: OverlayHeader,
  marker: SlotMarker,
  chunks: number
): Uint8Array {
  const { kinds, broken, sequences } = scanned
  const authentic = kinds.map((kind, slot) => (kind !== 0 && broken[slot] === 0 ? 1 : 0))
  if (claim === null) return authentic
  const holds = (usable: Uint8Array): boolean => {
    const frozenSequence = Math.max(floorSequence, claim.frozenSequence)
    const frozen = layOut(scanned, chunks, floorSequence, frozenSequence, usable).sum
    const top = layOut(scanned, chunks, frozenSequence, claim.sequence, usable).sum
    const digest = marker.digest({ low: frozen.low ^ top.low, high: frozen.high ^ top.high })
    return digest.equals(claim.digest)
  }
  if (holds(authentic)) return authentic
  const named = kinds.map((kind, slot) =>
    kind !== 0 && (broken[slot] === 0 || sequences[slot] <= claim.sequence) ? 1 : 0
  )
  if (holds(named)) return named
  throw new HyperparcelError('DATA_CORRUPT', `The changes of ${name} are damaged on this disk`, {
    hint: 'Parts of them are missing, and it is not known which. Check the disk; the last version of the parcel is not affected.',
    context: { volume: name }
  })
}
