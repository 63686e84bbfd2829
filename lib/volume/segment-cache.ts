/**
 * Decoded segments; those go first that were not used since they came or since others last had to go. One for all volumes and versions of a session: a segment is
 * named by the number of its log, which keeps its meaning along a chain of versions, and its block.
 *
 * Memory is cut into slots of one segment each, used again and again: what is handed out is valid only until the
 * next `arrive`, so whoever gets it copies from it at once.
 *
 * A segment that is being fetched is known here too, so that whoever needs it meanwhile waits for the same fetch.
 */
import { SEGMENT_DATA_BYTES } from '../base/limits.ts'

const BYTES_MAX = 64 * 1024 ** 2
/** Slots that get their memory together: 4 MiB. */
const SLOTS_IN_A_ROW = 64

/** Log and block in one number: 16 + 32 bits. */
export const segmentName = (log: number, block: number): number => log * 0x1_0000_0000 + block

/** Waits for segments, each known to it by an index. One of both is called for each, and it does not throw. */
export interface Waiter {
  /** `segment` is valid during the call. */
  arrived(index: number, segment: Buffer): void
  failed(index: number, error: unknown): void
}

interface Cached {
  slot: Buffer
  /** The part of it that is filled. */
  segment: Buffer
  used: boolean
}

interface Waiting {
  waiter: Waiter
  index: number
}

export class SegmentCache {
  readonly #slotsMax: number
  #slots = 0
  readonly #free: Buffer[] = []
  readonly #cached = new Map<number, Cached>()
  readonly #waiting = new Map<number, Waiting[]>()

  constructor(bytesMax = BYTES_MAX) {
    this.#slotsMax = Math.floor(bytesMax / SEGMENT_DATA_BYTES)
  }

  /** Of memory held. */
  get bytes(): number {
    return this.#slots * SEGMENT_DATA_BYTES
  }

  /** The chunks of a segment, one after the other; to be copied from at once. */
  get(name: number): Buffer | undefined {
    const cached = this.#cached.get(name)
    if (cached === undefined) return undefined
    cached.used = true
    return cached.segment
  }

  /** Is it here or on its way? Does not count as a use. */
  has(name: number): boolean {
    return this.#cached.has(name) || this.#waiting.has(name)
  }

  /** Waits for a segment that is not here. True for the first one that does: it has to see to it that it comes. */
  wait(name: number, waiter: Waiter, index: number): boolean {
    const others = this.#waiting.get(name)
    if (others === undefined) this.#waiting.set(name, [{ waiter, index }])
    else others.push({ waiter, index })
    return others === undefined
  }

  /** `open` writes it into a slot and returns the part that it filled; when it throws, all who wait have failed. */
  arrive(name: number, open: (slot: Buffer) => Buffer): void {
    const slot = this.#takeSlot()
    let segment: Buffer
    try {
      segment = open(slot)
    } catch (err) {
      this.#free.push(slot)
      this.fail(name, err)
      return
    }
    this.#cached.set(name, { slot, segment, used: false })
    for (const { waiter, index } of this.#release(name)) waiter.arrived(index, segment)
  }

  /** It does not come; forgotten until somebody waits for it again. */
  fail(name: number, error: unknown): void {
    for (const { waiter, index } of this.#release(name)) waiter.failed(index, error)
  }

  #release(name: number): Waiting[] {
    const waiting = this.#waiting.get(name) ?? []
    this.#waiting.delete(name)
    return waiting
  }

  #takeSlot(): Buffer {
    if (this.#free.length === 0) {
      if (this.#slots < this.#slotsMax) this.#addSlots()
      else this.#dropUnused()
    }
    return this.#free.pop()!
  }

  #addSlots(): void {
    const count = Math.min(SLOTS_IN_A_ROW, this.#slotsMax - this.#slots)
    const memory = Buffer.allocUnsafeSlow(count * SEGMENT_DATA_BYTES)
    for (let at = 0; at < memory.byteLength; at += SEGMENT_DATA_BYTES) {
      this.#free.push(memory.subarray(at, at + SEGMENT_DATA_BYTES))
    }
    this.#slots += count
  }

  /** What was used gets another turn: so a use costs no more than a mark. */
  #dropUnused(): void {
    for (const [name, cached] of this.#cached) {
      this.#cached.delete(name)
      if (!cached.used) {
        this.#free.push(cached.slot)
        return
      }
      cached.used = false
      this.#cached.set(name, cached)
    }
  }
}
