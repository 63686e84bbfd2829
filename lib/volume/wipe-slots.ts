/** Makes slots look as if they had never been written: what is in them shall not be found by a recovery. */
import { SLOT_BYTES, slotPosition } from '../format/overlay.ts'
import type { OverlayFile } from './overlay-file.ts'

const WIPED = Buffer.alloc(SLOT_BYTES)

/** One after the other, all of them; behind the end of the file nothing was written. Resolves with false where a write failed. */
export async function wipeSlots(file: OverlayFile, slots: Iterable<number>): Promise<boolean> {
  const sizeBytes = await file.size()
  let wiped = true
  for (const slot of slots) {
    const position = slotPosition(slot)
    const length = Math.min(SLOT_BYTES, sizeBytes - position)
    if (length <= 0) continue
    await new Promise<void>((resolve) => {
      file.pwrite(WIPED, 0, length, position, (error) => {
        if (error !== null) wiped = false
        resolve()
      })
    })
  }
  return wiped
}
