/** The content under an overlay, as a port, and the simplest such content: nothing. */
import { CHUNK_BYTES } from '../base/limits.ts'

/** The immutable content under an overlay: one version of a volume. */
export interface VolumeBase {
  readonly sizeBytes: number
  /**
   * Fills target[0…count*4096) with chunks first…first+count−1. Nothing returned: it was in memory. Waits without
   * limit for missing data; rejects with `DATA_CORRUPT`. The target is left alone once it rejected.
   */
  read(first: number, count: number, target: Buffer): void | Promise<void>
  /**
   * Number of chunks from `first` on (at least 1, at most `max`) that are alike, and whether they are zero
   * chunks. May answer conservatively "data" when it is not known here yet.
   */
  run(first: number, max: number): { count: number; zero: boolean }
}

/** A blank disk. */
export class ZeroBase implements VolumeBase {
  readonly sizeBytes: number

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes
  }

  read(_first: number, count: number, target: Buffer): void {
    target.fill(0, 0, count * CHUNK_BYTES)
  }

  run(_first: number, max: number): { count: number; zero: boolean } {
    return { count: max, zero: true }
  }
}
