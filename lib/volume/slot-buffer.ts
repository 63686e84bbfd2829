/** A buffer of slots in a row, with the views that sealing and opening them needs, made once. */
import {
  SLOT_BYTES,
  SLOT_DATA_AT,
  SLOT_HEADER_AGAIN_AT,
  SLOT_HEADER_BYTES,
  SLOT_NONCE_AT,
  readSlotHeader,
  writeSlotHeader,
  type SlotHeader
} from '../format/overlay.ts'
import { NONCE_BYTES, open, sealWith } from '../chunk/aead.ts'

interface SlotViews {
  header: Buffer
  nonce: Buffer
  sealed: Buffer
  headerAgain: Buffer
}

export class SlotBuffer {
  readonly capacity: number
  readonly bytes: Buffer
  readonly #views: SlotViews[] = []

  constructor(capacity: number) {
    this.capacity = capacity
    this.bytes = Buffer.allocUnsafeSlow(capacity * SLOT_BYTES)
  }

  /** Seals one chunk to slot `index`; `nonces` at `nonceAt` are random and used nowhere else. */
  seal(
    index: number,
    kind: number,
    volume: number,
    chunk: number,
    count: number,
    sequence: number,
    content: Buffer,
    nonces: Buffer,
    nonceAt: number,
    key: Buffer
  ): void {
    const at = index * SLOT_BYTES
    writeSlotHeader(this.bytes, at, kind, volume, chunk, count, sequence)
    nonces.copy(this.bytes, at + SLOT_NONCE_AT, nonceAt, nonceAt + NONCE_BYTES)
    const views = this.#at(index)
    sealWith(views.sealed, views.nonce, content, views.header, key)
    views.header.copy(views.headerAgain)
  }

  /**
   * Opens slot `index` into `target`, 4096 bytes; one intact copy of its header is enough, and `header` then gives that.
   * Throws `DATA_CORRUPT`.
   */
  open(index: number, target: Buffer, key: Buffer): void {
    const { header, nonce, sealed, headerAgain } = this.#at(index)
    try {
      open(target, nonce, sealed, header, key)
    } catch (err) {
      if (headerAgain.equals(header)) throw err
      open(target, nonce, sealed, headerAgain, key)
      headerAgain.copy(header)
    }
  }

  /** The bytes that `header` reads. */
  headerBytes(index: number): Buffer {
    return this.#at(index).header
  }

  /** The copy behind the data. */
  headerAgain(index: number): SlotHeader {
    return readSlotHeader(this.bytes, index * SLOT_BYTES + SLOT_HEADER_AGAIN_AT)
  }

  headerAgainBytes(index: number): Buffer {
    return this.#at(index).headerAgain
  }

  /** To be trusted once the slot was opened. */
  header(index: number): SlotHeader {
    return readSlotHeader(this.bytes, index * SLOT_BYTES)
  }

  #at(index: number): SlotViews {
    let views = this.#views[index]
    if (views === undefined) {
      const at = index * SLOT_BYTES
      views = {
        header: this.bytes.subarray(at, at + SLOT_HEADER_BYTES),
        nonce: this.bytes.subarray(at + SLOT_NONCE_AT, at + SLOT_DATA_AT),
        sealed: this.bytes.subarray(at + SLOT_DATA_AT, at + SLOT_HEADER_AGAIN_AT),
        headerAgain: this.bytes.subarray(at + SLOT_HEADER_AGAIN_AT, at + SLOT_BYTES)
      }
      this.#views[index] = views
    }
    return views
  }
}
