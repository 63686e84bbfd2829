/**
 * Finds out what an overlay file holds after a crash: scans every slot, believes those whose tag is right, and
 * keeps for each chunk the one with the highest sequence. A torn slot, or one that was never written, is as if it
 * had never been; the slot that it was to replace is still there, because slots are reused only after the sync
 * that covers their successors.
 */
import { CHUNK_BYTES } from '../base/limits.ts'
import {
  OVERLAY_SLOTS_AT,
  SLOT_BYTES,
  SLOT_KIND,
  slotPosition,
  type OverlayHeader
} from '../format/overlay.ts'
import { ChunkMap, dataEntry, tombstoneEntry, slotOf } from './chunk-map.ts'
import type { OverlayFile } from './overlay-file.ts'
import { SlotBuffer } from './slot-buffer.ts'

const SCAN_SLOTS = 128

export interface Recovered {
  map: ChunkMap
  /** Slot → sequence, 0 where a slot is free. */
  sequences: Float64Array
  /** Tombstone slot → chunks that still depend on it. */
  tombstones: Map<number, number>
  /** The highest sequence in the file, in use or not. */
  lastSequence: number
}

interface Tombstone {
  slot: number
  first: number
  count: number
  sequence: number
}

export async function recoverSlots(
  file: OverlayFile,
  header: OverlayHeader,
  key: Buffer
): Promise<Recovered> {
  const chunks = Math.ceil(header.sizeBytes / CHUNK_BYTES)
  const map = new ChunkMap(chunks)
  const slots = Math.max(0, Math.floor(((await file.size()) - OVERLAY_SLOTS_AT) / SLOT_BYTES))
  const sequences = new Float64Array(slots)
  const tombstones: Tombstone[] = []
  let lastSequence = Math.max(header.floorSequence, header.commitSequence)

  const buffer = new SlotBuffer(SCAN_SLOTS)
  const content = Buffer.alloc(CHUNK_BYTES)
  for (let slot = 0; slot < slots; slot += SCAN_SLOTS) {
    const bytes = await readAt(file, buffer.bytes, slotPosition(slot))
    const whole = Math.min(slots - slot, Math.floor(bytes / SLOT_BYTES))
    for (let i = 0; i < whole; i++) {
      const { kind, volume, chunk, count, sequence } = buffer.header(i)
      if (kind !== SLOT_KIND.DATA && kind !== SLOT_KIND.TOMBSTONE) continue
      if (volume !== header.volume || count === 0 || chunk + count > chunks) continue
      if (!authentic(buffer, i, content, key)) continue
      lastSequence = Math.max(lastSequence, sequence)
      if (sequence <= header.floorSequence) continue
      if (kind === SLOT_KIND.TOMBSTONE) {
        tombstones.push({ slot: slot + i, first: chunk, count, sequence })
        continue
      }
      const known = map.get(chunk)
      if (known !== 0 && sequences[slotOf(known)] >= sequence) continue
      if (known !== 0) sequences[slotOf(known)] = 0
      map.set(chunk, dataEntry(slot + i))
      sequences[slot + i] = sequence
    }
  }
  content.fill(0)

  tombstones.sort((a, b) => a.sequence - b.sequence)
  const living = new Map<number, number>()
  for (const tombstone of tombstones) bury(tombstone, map, sequences, living)
  return { map, sequences, tombstones: living, lastSequence }
}

/** Lays a tombstone over what is older than it. Tombstones come in the order of their sequences. */
function bury(
  { slot, first, count, sequence }: Tombstone,
  map: ChunkMap,
  sequences: Float64Array,
  living: Map<number, number>
): void {
  const entry = tombstoneEntry(slot)
  let depend = 0
  const replaced = (old: number, chunks: number) => {
    const oldSlot = slotOf(old)
    const left = (living.get(oldSlot) ?? 0) - chunks
    if (left > 0) living.set(oldSlot, left)
    else {
      living.delete(oldSlot)
      sequences[oldSlot] = 0
    }
  }
  for (let at = first; at < first + count;) {
    const known = map.get(at)
    const newer = known !== 0 && sequences[slotOf(known)] > sequence
    let stop = at + 1
    if (known === 0) stop = at + map.run(at, first + count - at)
    if (!newer) {
      map.fill(at, stop - at, entry, replaced)
      depend += stop - at
    }
    at = stop
  }
  if (depend > 0) {
    living.set(slot, depend)
    sequences[slot] = sequence
  }
}

function authentic(buffer: SlotBuffer, index: number, content: Buffer, key: Buffer): boolean {
  try {
    buffer.open(index, content, key)
    return true
  } catch {
    return false // a torn or foreign slot: as if it had never been written
  }
}

function readAt(file: OverlayFile, buffer: Buffer, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    file.pread(buffer, 0, buffer.byteLength, position, (error, bytes) =>
      error === null ? resolve(bytes) : reject(error)
    )
  })
}
