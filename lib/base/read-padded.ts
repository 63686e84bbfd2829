/** Reads of a file as a disk shows it: what is behind its end is zero. */
import type { FileHandle } from 'node:fs/promises'

/** Fills all of `target` from `position` on; returns the bytes that are the file's. */
export async function readPadded(
  file: FileHandle,
  target: Buffer,
  position: number
): Promise<number> {
  let done = 0
  while (done < target.byteLength) {
    const { bytesRead } = await file.read(target, done, target.byteLength - done, position + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  target.fill(0, done)
  return done
}
