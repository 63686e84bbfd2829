/** Tells when the disk's space becomes low, looking only now and then: each time the file has grown by a step. */
import safetyCatch from 'safety-catch'
import type { OverlayFile } from './overlay-file.ts'

const STEP_BYTES = 16 * 1024 ** 2
const LOW_BYTES = 256 * 1024 ** 2

export class LowSpace {
  readonly #file: OverlayFile
  readonly #lowBytes: number
  readonly #onlow: (freeBytes: number) => void
  #checkedAt = 0
  #low = false

  constructor(
    file: OverlayFile,
    lowBytes = LOW_BYTES,
    onlow: (freeBytes: number) => void = () => {}
  ) {
    this.#file = file
    this.#lowBytes = lowBytes
    this.#onlow = onlow
  }

  /** The file has that many bytes now. */
  grown(bytes: number): void {
    this.#checkedAt = Math.min(this.#checkedAt, bytes)
    if (bytes - this.#checkedAt < STEP_BYTES && !this.#low) return
    this.#checkedAt = bytes
    this.check()
  }

  check(): void {
    this.#file.freeBytes().then((free) => {
      const low = free < this.#lowBytes
      if (low && !this.#low) this.#onlow(free)
      this.#low = low
    }, safetyCatch)
  }
}
