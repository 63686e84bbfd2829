/**
 * The header of an overlay file on disk. Two copies, written in turns and synced, so that a torn write leaves
 * the other one; the valid copy with the higher counter counts.
 */
import { faultPoint } from '../base/fault-point.ts'
import { HyperparcelError } from '../base/errors.ts'
import {
  OVERLAY_HEADER_BYTES,
  OVERLAY_SLOTS_AT,
  decodeOverlayHeader,
  encodeOverlayHeader,
  verifyOverlayHeader,
  type OverlayHeader
} from '../format/overlay.ts'
import type { OverlayFile } from './overlay-file.ts'

/** The newest authentic copy and the slot key. Throws `DATA_CORRUPT` when there is none, `FORMAT_TOO_NEW`. */
export async function readOverlayHeader(
  file: OverlayFile,
  unsealKey: (sealed: Buffer) => Buffer
): Promise<{ header: OverlayHeader; key: Buffer }> {
  const both = Buffer.alloc(OVERLAY_SLOTS_AT)
  await new Promise<void>((resolve, reject) => {
    file.pread(both, 0, both.byteLength, 0, (error) => (error === null ? resolve() : reject(error)))
  })
  const blocks = [both.subarray(0, OVERLAY_HEADER_BYTES), both.subarray(OVERLAY_HEADER_BYTES)]
  const copies = blocks
    .map((block) => ({ block, header: decodeOverlayHeader(block) }))
    .sort((a, b) => (b.header?.counter ?? -1) - (a.header?.counter ?? -1))
  for (const { block, header } of copies) {
    if (header === null) continue
    const key = unsealKey(header.sealedKey)
    if (verifyOverlayHeader(block, key)) return { header, key }
  }
  throw new HyperparcelError('DATA_CORRUPT', 'The header of an overlay did not verify', {
    hint: 'The changes in it cannot be read. The last version of the parcel is not affected.'
  })
}

/** Writes headers one after the other. */
export class HeaderWriter {
  readonly #file: OverlayFile
  readonly #key: Buffer
  readonly #sync: () => Promise<void>
  #current: OverlayHeader
  #last: Promise<void> = Promise.resolve()

  /** @param sync makes everything written before durable, where the overlay is */
  constructor(file: OverlayFile, key: Buffer, current: OverlayHeader, sync: () => Promise<void>) {
    this.#sync = sync
    this.#file = file
    this.#key = key
    this.#current = current
  }

  get current(): OverlayHeader {
    return this.#current
  }

  /** Durable when it resolves, where the overlay is; on an error the old header still counts. */
  write(change: Partial<OverlayHeader>): Promise<void> {
    const run = () => this.#write(change)
    this.#last = this.#last.then(run, run)
    return this.#last
  }

  async #write(change: Partial<OverlayHeader>): Promise<void> {
    const header = { ...this.#current, ...change, counter: this.#current.counter + 1 }
    const block = encodeOverlayHeader(header, this.#key)
    const position = (header.counter % 2) * OVERLAY_HEADER_BYTES
    await new Promise<void>((resolve, reject) => {
      this.#file.pwrite(block, 0, block.byteLength, position, (error) =>
        error === null ? resolve() : reject(error)
      )
    })
    faultPoint('headed')
    await this.#sync()
    faultPoint('header-synced')
    this.#current = header
  }
}
