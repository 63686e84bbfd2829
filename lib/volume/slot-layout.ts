/** The slots of a range of sequences laid over each other, the latest on top: one generation, as it was built by writing. */
import { SLOT_KIND } from '../format/overlay.ts'
import { ChunkMap, dataEntry, slotOf, tombstoneEntry } from './chunk-map.ts'
import type { MarkSum } from './live-slots.ts'
import type { ScannedSlots } from './slot-scan.ts'

export interface SlotLayout {
  map: ChunkMap
  /** Tombstone slot → chunks that depend on it. */
  tombstones: Map<number, number>
  /** 1: in use. */
  live: Uint8Array
  /** Of the marks of slots in use. */
  sum: MarkSum
}

/** Of the slots with a 1 in `usable`, those with sequences in (above, upTo]. */
export function layOut(
  scanned: ScannedSlots,
  chunks: number,
  above: number,
  upTo: number,
  usable: Uint8Array
): SlotLayout {
  const { kinds, chunks: firsts, sequences, marks } = scanned
  const map = new ChunkMap(above < upTo ? chunks : 0)
  const live = new Uint8Array(kinds.length)
  const tombstoneSlots: number[] = []
  for (let slot = 0; slot < kinds.length; slot++) {
    const sequence = sequences[slot]
    if (usable[slot] === 0 || sequence <= above || sequence > upTo) continue
    if (kinds[slot] === SLOT_KIND.TOMBSTONE) {
      tombstoneSlots.push(slot)
      continue
    }
    const known = map.get(firsts[slot])
    if (known !== 0 && sequences[slotOf(known)] >= sequence) continue
    if (known !== 0) live[slotOf(known)] = 0
    map.set(firsts[slot], dataEntry(slot))
    live[slot] = 1
  }
  const tombstones = new Map<number, number>()
  tombstoneSlots.sort((a, b) => sequences[a] - sequences[b])
  for (const slot of tombstoneSlots) bury(slot, scanned, map, live, tombstones)
  const sum = { low: 0, high: 0 }
  for (let slot = 0; slot < live.length; slot++) {
    if (live[slot] === 0) continue
    sum.low ^= marks[2 * slot]
    sum.high ^= marks[2 * slot + 1]
  }
  return { map, tombstones, live, sum }
}

/** Lays a tombstone over what is older than it. Tombstones come in the order of their sequences. */
function bury(
  slot: number,
  { chunks, counts, sequences }: ScannedSlots,
  map: ChunkMap,
  live: Uint8Array,
  tombstones: Map<number, number>
): void {
  const entry = tombstoneEntry(slot)
  const first = chunks[slot]
  const end = first + counts[slot]
  let depend = 0
  const replaced = (old: number, count: number) => {
    const oldSlot = slotOf(old)
    const left = (tombstones.get(oldSlot) ?? 0) - count
    if (left > 0) tombstones.set(oldSlot, left)
    else {
      tombstones.delete(oldSlot)
      live[oldSlot] = 0
    }
  }
  for (let at = first; at < end;) {
    const known = map.get(at)
    const newer = known !== 0 && sequences[slotOf(known)] > sequences[slot]
    let stop = at + 1
    if (known === 0) stop = at + map.run(at, end - at)
    if (!newer) {
      map.fill(at, stop - at, entry, replaced)
      depend += stop - at
    }
    at = stop
  }
  if (depend > 0) {
    tombstones.set(slot, depend)
    live[slot] = 1
  }
}
