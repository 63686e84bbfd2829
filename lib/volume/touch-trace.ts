/**
 * Which chunks of which volumes were read of a version, in the order of first touch; bounded. A base of a volume that
 * notes its reads in one.
 */
import { VOLUME_CHUNKS_MAX } from '../base/limits.ts'
import type { VolumeBase } from './base.ts'

export class TouchTrace {
  readonly #touched = new Set<number>()
  readonly #guessed = new Set<number>()
  readonly #max: number
  /** Reads of more than one chunk are the kernel's, which reads around a fault: only the middle one is sure. */
  readAround = false
  /** Monotonic, milliseconds: when something was last touched for the first time. */
  lastMs = performance.now()
  #ended = false

  constructor(chunksMax: number) {
    this.#max = chunksMax
  }

  get size(): number {
    return this.#touched.size
  }

  get ended(): boolean {
    return this.#ended
  }

  end(): void {
    this.#ended = true
  }

  note(volume: number, first: number, count: number, isMemory: boolean): void {
    if (this.#ended || this.#touched.size >= this.#max) return
    const base = volume * VOLUME_CHUNKS_MAX
    if (count > 1 && isMemory && this.readAround) {
      this.#add(base + first + (count >>> 1))
      for (let i = 0; i < count; i++) {
        if (this.#guessed.size < this.#max) this.#guessed.add(base + first + i)
      }
      return
    }
    for (let i = 0; i < count; i++) this.#add(base + first + i)
  }

  /** In order. */
  names(): number[] {
    return [...this.#touched]
  }

  guesses(): number[] {
    return [...this.#guessed]
  }

  #add(name: number): void {
    if (this.#touched.has(name)) return
    this.#touched.add(name)
    this.lastMs = performance.now()
  }
}

export class TracedBase implements VolumeBase {
  readonly #base: VolumeBase
  readonly #trace: TouchTrace
  readonly #volume: number
  readonly #isMemory: boolean

  /** @param volume its number in the version's record */
  constructor(base: VolumeBase, trace: TouchTrace, volume: number, isMemory: boolean) {
    this.#base = base
    this.#trace = trace
    this.#volume = volume
    this.#isMemory = isMemory
  }

  get sizeBytes(): number {
    return this.#base.sizeBytes
  }

  read(first: number, count: number, target: Buffer): void | Promise<void> {
    if (!this.#trace.ended) this.#trace.note(this.#volume, first, count, this.#isMemory)
    return this.#base.read(first, count, target)
  }

  run(first: number, max: number): { count: number; zero: boolean } {
    return this.#base.run(first, max)
  }
}
