/**
 * The slots of one overlay file: gives them out, takes them back when it is safe.
 *
 *   in use ─▶ replaced ──sync that covers its replacement──▶ synced ──claim of that──▶ unused ──reads end──▶ free
 *
 * Where nothing need survive a crash, sync and claim are left out.
 */
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_BYTES } from '../base/limits.ts'
import { SLOT_BYTES, slotPosition } from '../format/overlay.ts'
import { FileSync } from './file-sync.ts'
import type { HeaderWriter } from './overlay-header.ts'
import type { OverlayFile } from './overlay-file.ts'
import { ReadEpochs } from './read-epochs.ts'
import { SlotSpace, type Extent } from './slot-space.ts'

/** Slots beyond a reserve, for what is replaced but not free yet. */
const RESERVE_SLACK_SLOTS = 512
/** Replaced slots that wait for a sync, or for a claim, before one is made for them: 64 MiB. */
const REPLACED_MAX = 16_384
/** The file is cut when its end has at least that many free slots. */
const TRIM_SLOTS_MIN = 2048

export class SlotPool {
  readonly epochs = new ReadEpochs()
  readonly sync: FileSync
  readonly #file: OverlayFile
  readonly #durable: boolean
  readonly #space = new SlotSpace()
  readonly #wake: () => void
  /** Slots whose replacement is written but not synced. */
  #replaced: number[] = []
  /** Slots whose replacement is synced, but not claimed: see `live-slots.ts`. */
  #unclaimed: number[] = []
  /** Slots that wait for reads. */
  #retiring = 0

  /**
   * @param claim writes what the last sync covered, when one begins
   * @param wake makes somebody call `trim` when nothing is being written
   */
  constructor(
    file: OverlayFile,
    name: string,
    durable: boolean,
    claim: HeaderWriter['put'],
    wake: () => void
  ) {
    this.#file = file
    this.#durable = durable
    this.#wake = wake
    this.sync = new FileSync(file, name, async () => {
      const replaced = this.#replaced
      this.#replaced = []
      const { claimed, synced } = await claim()
      return () => {
        synced()
        if (claimed) {
          this.retire(this.#unclaimed)
          this.#unclaimed = replaced
        } else for (const slot of replaced) this.#unclaimed.push(slot)
      }
    })
  }

  get usedBytes(): number {
    return this.#space.inUse * SLOT_BYTES
  }

  get fileBytes(): number {
    return slotPosition(Math.max(this.#space.end, this.#space.reserved))
  }

  /** Is there space for a slot of each of that many chunks, under the chunk's own number? */
  hasHomes(chunks: number): boolean {
    return !this.#durable && this.#space.reserved >= chunks
  }

  /** That very slot, if it is free. */
  takeAt(slot: number): boolean {
    return this.#space.takeAt(slot)
  }

  /** Exactly `count` slots. With `grow` false, rejects with `DISK_FULL` when the file has not that many. */
  async take(count: number, grow: boolean): Promise<Extent[]> {
    const { ready, reserved } = this.#space
    if (!grow || (reserved > 0 && ready < count)) await this.#reclaim(count)
    if (!grow && this.#space.ready < count)
      throw new HyperparcelError('DISK_FULL', 'No slot is left')
    return this.#space.take(count, grow)
  }

  /** Slots that were taken and hold nothing. */
  give(extents: Extent[]): void {
    for (const { first, count } of extents) {
      for (let slot = first; slot < first + count; slot++) this.#space.free(slot)
    }
  }

  /** Recovery found it in use. */
  claim(slot: number): void {
    this.#space.claim(slot)
  }

  /** Something newer is written in its place. */
  replaced(slot: number): void {
    this.#replaced.push(slot)
  }

  /** Frees what need not wait for a sync, and syncs when too much does wait. */
  settle(): void {
    const most = Math.max(this.#replaced.length, this.#unclaimed.length)
    if (most === 0) return
    if (!this.#durable) {
      this.retire(this.#replaced)
      this.#replaced = []
    } else if (most > REPLACED_MAX && this.sync.failure === null) {
      this.sync.run().catch(safetyCatch) // it stays failed: the next flush says so
    }
  }

  /** Frees slots that no crash needs, once nobody reads them any more. */
  retire(slots: number[]): void {
    if (slots.length === 0) return
    this.#retiring += slots.length
    this.epochs.retire(() => {
      this.#retiring -= slots.length
      for (const slot of slots) this.#space.free(slot)
      if (this.#idleTail() >= TRIM_SLOTS_MIN) this.#wake()
    })
  }

  /** Cuts a free end off the file. Nothing may be being written. */
  async trim(): Promise<void> {
    if (this.#idleTail() < TRIM_SLOTS_MIN) return
    const before = this.fileBytes
    this.#space.trim()
    // Failing to give space back harms nobody.
    if (this.fileBytes < before) await this.#file.truncate(this.fileBytes).catch(safetyCatch)
  }

  /** Makes sure that `bytes` more can be written. Rejects with `DISK_FULL`. */
  async reserve(bytes: number): Promise<void> {
    const slots = this.#space.inUse + Math.ceil(bytes / CHUNK_BYTES) + RESERVE_SLACK_SLOTS
    if (slots <= this.#space.reserved) return
    await this.#file.allocate(slotPosition(slots))
    this.#space.reserved = Math.max(slots, this.#space.reserved)
  }

  #idleTail(): number {
    const { end, idle, reserved } = this.#space
    if (idle < TRIM_SLOTS_MIN || end <= reserved) return 0
    let at = end
    while (at > reserved && this.#space.isFree(at - 1)) at--
    return end - at
  }

  /** Tries to have `count` slots without growing: syncs what waits for that, waits for readers. */
  async #reclaim(count: number): Promise<void> {
    // One sync for what was replaced, one for the claim that it was.
    for (let i = 0; i < 2 && this.#durable && this.sync.failure === null; i++) {
      if (this.#replaced.length + this.#unclaimed.length === 0) break
      await this.sync.run().catch(safetyCatch) // then there is nothing to reclaim
    }
    while (this.#space.ready < count && this.#retiring > 0) {
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}
