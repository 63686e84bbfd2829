/**
 * Which slots a recovery must find again. A slot that is damaged, missing or exchanged for an older one leaves no trace
 * of its own: its chunk would silently have older content. So the header holds a claim, a digest of the slots in use.
 *
 * - Each slot in use has a mark, 64 bits of a keyed hash of its header. The marks of a generation are summed with XOR,
 *   so that a write costs one mark, and freeing a slot one lookup. Only a hash of the sums is on the disk.
 * - A claim is of a moment: the slots in use of all writes up to a sequence, the frozen generation apart, because there
 *   a chunk may have one slot in each. Those slots are the latest of their chunks in (floor, frozen sequence] and
 *   (frozen sequence, sequence], so recovery can tell from the slots alone which ones they must have been.
 * - A header is written just before a sync and claims what the *previous* sync covered: a power cut cannot have taken
 *   any of that, so a claim that does not hold is damage. Where nothing more is written, another sync soon follows.
 * - A slot that a claim counts stays as it is until a later claim is durable, or the floor is above it.
 */
import sodium from 'sodium-universal'
import type { SyncClaim } from '../format/overlay.ts'

/** XOR of marks, as two signed words. */
export interface MarkSum {
  low: number
  high: number
}

/** What is in use at one moment. */
export interface LiveMoment {
  sequence: number
  /** 0: there was no frozen generation. */
  frozenSequence: number
  frozen: MarkSum
  top: MarkSum
}

const NOTHING: MarkSum = { low: 0, high: 0 }
const CONTEXT = Buffer.from('hyperparcel overlay live slots')
const MARK_KEY_BYTES = 16

/** Marks and digests under the key of one overlay. */
export class SlotMarker {
  readonly #markKey: Buffer
  readonly #digestKey: Buffer
  readonly #mark = Buffer.alloc(8)
  low = 0
  high = 0

  constructor(slotKey: Buffer) {
    const derived = Buffer.alloc(2 * MARK_KEY_BYTES)
    sodium.crypto_generichash(derived, CONTEXT, slotKey)
    this.#markKey = derived.subarray(0, MARK_KEY_BYTES)
    this.#digestKey = derived.subarray(MARK_KEY_BYTES)
  }

  /** Sets `low` and `high` to the mark of the slot with that header. */
  mark(header: Buffer): void {
    sodium.crypto_shorthash(this.#mark, header, this.#markKey)
    this.low = this.#mark.readInt32LE(0)
    this.high = this.#mark.readInt32LE(4)
  }

  /** The claim of a file without slots. */
  claimNothing(): SyncClaim {
    return this.#claim(0, 0, NOTHING)
  }

  /** The claim that all of that moment was synced, in a file whose floor is `floor`. */
  claim({ sequence, frozenSequence, frozen, top }: LiveMoment, floor: number): SyncClaim {
    if (sequence <= floor) return this.#claim(floor, 0, NOTHING)
    if (frozenSequence <= floor) return this.#claim(sequence, 0, top)
    const sum = { low: frozen.low ^ top.low, high: frozen.high ^ top.high }
    return this.#claim(sequence, frozenSequence, sum)
  }

  digest({ low, high }: MarkSum): Buffer {
    const sum = Buffer.alloc(8)
    sum.writeInt32LE(low, 0)
    sum.writeInt32LE(high, 4)
    const digest = Buffer.alloc(32)
    sodium.crypto_generichash(digest, sum, this.#digestKey)
    return digest
  }

  #claim(sequence: number, frozenSequence: number, sum: MarkSum): SyncClaim {
    return { sequence, frozenSequence, digest: this.digest(sum) }
  }
}

export class LiveSlots {
  readonly marker: SlotMarker
  /** A write that failed may come back after a crash: nothing is claimed any more. */
  doubtful = false
  /** Of the last write that was applied. */
  sequence: number
  /** Two words for each slot. */
  #marks: Int32Array
  #frozenSequence = 0
  #frozen: MarkSum = NOTHING
  readonly #top: MarkSum

  /** @param marks of the slots that a recovery found; `top` is their sum. */
  constructor(marker: SlotMarker, sequence: number, marks: Int32Array, top: MarkSum) {
    this.marker = marker
    this.sequence = sequence
    this.#marks = marks
    this.#top = { ...top }
  }

  /** A slot with that header is in use by the top generation. */
  add(slot: number, header: Buffer): void {
    const { marker } = this
    marker.mark(header)
    if (2 * slot >= this.#marks.length) this.#grow(slot)
    this.#marks[2 * slot] = marker.low
    this.#marks[2 * slot + 1] = marker.high
    this.#toggle(slot)
  }

  /** The top generation does not need it any more. */
  remove(slot: number): void {
    this.#toggle(slot)
  }

  /** The top becomes the frozen generation. */
  freeze(): void {
    this.#frozen = { ...this.#top }
    this.#frozenSequence = this.sequence
    this.#top.low = this.#top.high = 0
  }

  /** Frozen and top are one again. What newer writes replace is removed after that. */
  thaw(): void {
    this.#top.low ^= this.#frozen.low
    this.#top.high ^= this.#frozen.high
    this.drop()
  }

  /** A version has the frozen generation. */
  drop(): void {
    this.#frozen = NOTHING
    this.#frozenSequence = 0
  }

  /** Null where nothing may be claimed. */
  now(): LiveMoment | null {
    if (this.doubtful) return null
    const { sequence } = this
    return {
      sequence,
      frozenSequence: this.#frozenSequence,
      frozen: this.#frozen,
      top: { ...this.#top }
    }
  }

  #toggle(slot: number): void {
    this.#top.low ^= this.#marks[2 * slot]
    this.#top.high ^= this.#marks[2 * slot + 1]
  }

  #grow(slot: number): void {
    const grown = new Int32Array(2 * Math.max(1024, slot + 1, this.#marks.length))
    grown.set(this.#marks)
    this.#marks = grown
  }
}
