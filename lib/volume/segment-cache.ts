/**
 * Decoded segments, the least recently used go first. One for all volumes and versions of a session: a segment is
 * named by the number of its log, which keeps its meaning along a chain of versions, and its block.
 *
 * A segment that is being fetched is in here too, so that whoever needs it meanwhile waits for the same fetch.
 */
const BYTES_MAX = 64 * 1024 ** 2

/** Log and block in one number: 16 + 32 bits. */
export const segmentName = (log: number, block: number): number => log * 0x1_0000_0000 + block

export class SegmentCache {
  readonly #bytesMax: number
  readonly #segments = new Map<number, Buffer>()
  readonly #loading = new Map<number, Promise<Buffer>>()
  #bytes = 0

  constructor(bytesMax = BYTES_MAX) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  /** The chunks of a segment, one after the other; not to be changed. */
  get(name: number): Buffer | undefined {
    const segment = this.#segments.get(name)
    if (segment !== undefined && this.#bytes > this.#bytesMax / 2) {
      this.#segments.delete(name)
      this.#segments.set(name, segment)
    }
    return segment
  }

  /** Looks without counting as a use. */
  has(name: number): boolean {
    return this.#segments.has(name) || this.#loading.has(name)
  }

  loading(name: number): Promise<Buffer> | undefined {
    return this.#loading.get(name)
  }

  /** Keeps what it resolves with. A failed one is forgotten. */
  load(name: number, segment: Promise<Buffer>): void {
    this.#loading.set(name, segment)
    segment.then(
      (data) => {
        this.#loading.delete(name)
        this.#put(name, data)
      },
      () => this.#loading.delete(name)
    )
  }

  #put(name: number, data: Buffer): void {
    if (this.#segments.has(name)) return
    this.#segments.set(name, data)
    this.#bytes += data.byteLength
    while (this.#bytes > this.#bytesMax && this.#segments.size > 1) {
      const [oldest, gone] = this.#segments.entries().next().value!
      this.#segments.delete(oldest)
      this.#bytes -= gone.byteLength
    }
  }
}
