/** What tests need to damage an overlay file at a chosen place, and to see what became of it. */
import type { HyperparcelError } from '../../../lib/base/errors.ts'
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'
import {
  SLOT_KIND,
  SLOT_BYTES,
  readSlotHeader,
  slotPosition,
  type SlotHeader
} from '../../../lib/format/overlay.ts'
import type { Volume } from '../../../lib/volume/volume.ts'
import { numberOf } from './model.ts'

/** The slots of a file that were written, in use or not, whole or torn. */
export function slotsOf(file: Buffer): (SlotHeader & { slot: number })[] {
  const slots: (SlotHeader & { slot: number })[] = []
  for (let slot = 0; slotPosition(slot) + SLOT_BYTES <= file.byteLength; slot++) {
    const header = readSlotHeader(file, slotPosition(slot))
    if (header.kind === SLOT_KIND.DATA || header.kind === SLOT_KIND.TOMBSTONE) {
      slots.push({ ...header, slot })
    }
  }
  return slots
}

/** Null where it did not verify. */
export async function readNumber(volume: Volume, chunk: number): Promise<number | null> {
  const content = Buffer.alloc(CHUNK_BYTES)
  try {
    await volume.pread(content, chunk * CHUNK_BYTES)
    return numberOf(content)
  } catch (err) {
    if ((err as HyperparcelError).code !== 'DATA_CORRUPT') throw err
    return null
  }
}
