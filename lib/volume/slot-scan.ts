/** Reads every slot of an overlay file once: which are authentic, and what the others say of themselves. */
import { CHUNK_BYTES } from '../base/limits.ts'
import {
  OVERLAY_SLOTS_AT,
  SLOT_BYTES,
  SLOT_KIND,
  slotPosition,
  type OverlayHeader,
  type SlotHeader
} from '../format/overlay.ts'
import type { SlotMarker } from './live-slots.ts'
import type { OverlayFile } from './overlay-file.ts'
import { SlotBuffer } from './slot-buffer.ts'

const SCAN_SLOTS = 128

/** What the slots of a file say, slot by slot. */
export interface ScannedSlots {
  /** 0: nothing was ever written there. */
  kinds: Uint8Array
  /** 1: its tag is wrong. What the header says is not authentic then. */
  broken: Uint8Array
  chunks: Float64Array
  counts: Uint32Array
  sequences: Float64Array
  /** Two words for each slot. */
  marks: Int32Array
  /** The highest authentic sequence. */
  lastSequence: number
}

export async function scanSlots(
  file: OverlayFile,
  header: OverlayHeader,
  key: Buffer,
  marker: SlotMarker
): Promise<ScannedSlots> {
  const slots = Math.max(0, Math.floor(((await file.size()) - OVERLAY_SLOTS_AT) / SLOT_BYTES))
  const found: ScannedSlots = {
    kinds: new Uint8Array(slots),
    broken: new Uint8Array(slots),
    chunks: new Float64Array(slots),
    counts: new Uint32Array(slots),
    sequences: new Float64Array(slots),
    marks: new Int32Array(2 * slots),
    lastSequence: 0
  }
  const buffer = new SlotBuffer(SCAN_SLOTS)
  const content = Buffer.alloc(CHUNK_BYTES)
  for (let slot = 0; slot < slots; slot += SCAN_SLOTS) {
    const bytes = await readAt(file, buffer.bytes, slotPosition(slot))
    const whole = Math.min(slots - slot, Math.floor(bytes / SLOT_BYTES))
    for (let i = 0; i < whole; i++) note(found, slot + i, buffer, i, header, content, key, marker)
  }
  content.fill(0)
  return found
}

function note(
  found: ScannedSlots,
  slot: number,
  buffer: SlotBuffer,
  index: number,
  header: OverlayHeader,
  content: Buffer,
  key: Buffer,
  marker: SlotMarker
): void {
  let bytes = buffer.headerBytes(index)
  let slotHeader = buffer.header(index)
  const again = buffer.headerAgain(index)
  const plausible = [slotHeader, again].filter((copy) => isPlausible(copy, header))
  if (plausible.length === 0) return
  const broken = !authentic(buffer, index, content, key)
  if (!broken) slotHeader = buffer.header(index)
  else if (!believesFirst(slotHeader, again, header)) {
    slotHeader = again
    bytes = buffer.headerAgainBytes(index)
  }
  const { kind, chunk, count, sequence } = slotHeader
  found.kinds[slot] = kind
  found.broken[slot] = broken ? 1 : 0
  found.chunks[slot] = chunk
  found.counts[slot] = count
  found.sequences[slot] = sequence
  marker.mark(bytes)
  found.marks[2 * slot] = marker.low
  found.marks[2 * slot + 1] = marker.high
  if (!broken) found.lastSequence = Math.max(found.lastSequence, sequence)
}

/**
 * Of two copies in a broken slot, the one to go by: a plausible one that is not newer than the last sync, for a slot in
 * use was synced. Whichever it is, the claim decides whether it is right.
 */
function believesFirst(first: SlotHeader, again: SlotHeader, header: OverlayHeader): boolean {
  if (!isPlausible(first, header)) return false
  if (!isPlausible(again, header)) return true
  return first.sequence <= (header.claim?.sequence ?? 0)
}

function isPlausible(slot: SlotHeader, { volume, sizeBytes }: OverlayHeader): boolean {
  if (slot.kind !== SLOT_KIND.DATA && slot.kind !== SLOT_KIND.TOMBSTONE) return false
  if (slot.volume !== volume || slot.count === 0) return false
  if (slot.kind === SLOT_KIND.DATA && slot.count !== 1) return false
  return slot.chunk + slot.count <= Math.ceil(sizeBytes / CHUNK_BYTES)
}

function authentic(buffer: SlotBuffer, index: number, content: Buffer, key: Buffer): boolean {
  try {
    buffer.open(index, content, key)
    return true
  } catch {
    return false
  }
}

function readAt(file: OverlayFile, buffer: Buffer, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    file.pread(buffer, 0, buffer.byteLength, position, (error, bytes) =>
      error === null ? resolve(bytes) : reject(error)
    )
  })
}
