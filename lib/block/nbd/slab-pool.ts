/**
 * Memory for replies and payloads of all connections of one server, reused and bounded.
 *
 * Invariants
 * - A slab is referenced by each region of it that a device fills or the socket still has to send; at zero it
 *   returns here. Only the connection that took it touches it.
 * - `usedBytes` counts every slab that is out and every byte charged. Connections ask `hasRoom` before they start
 *   a request and `wait` for room when there is none.
 */

/** Replies of one burst share a slab: a burst of 32 reads of 4 KiB fits. */
export const SLAB_BYTES = 256 * 1024
const POOLED_SLAB_BYTES_MAX = 4 * 1024 * 1024
const POOLED_BYTES_MAX = 16 * 1024 * 1024
/** Slabs out beyond this are cut to size, so that slow reads cannot pin a whole slab each. */
const SHARED_SLABS_MAX = 128

export interface Slab {
  readonly buffer: Buffer
  /** Bytes handed out from the start. */
  used: number
  refs: number
}

export class SlabPool {
  readonly maxBytes: number
  usedBytes = 0
  readonly #free = new Map<number, Slab[]>()
  #freeBytes = 0
  #sharedOut = 0
  #waking = false
  readonly #waiting = new Set<() => void>()

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
  }

  /** A slab for at least `bytes`; small ones leave room for more. */
  take(bytes: number): Slab {
    const shared = bytes <= SLAB_BYTES / 2
    if (shared && this.#sharedOut >= SHARED_SLABS_MAX) return this.#allocate(bytes)
    const size = shared ? SLAB_BYTES : classOf(bytes)
    if (shared) this.#sharedOut++
    const slab = this.#free.get(size)?.pop()
    if (slab === undefined) return this.#allocate(size)
    this.#freeBytes -= size
    this.usedBytes += size
    return slab
  }

  /** Takes back a slab that nothing refers to any more. */
  give(slab: Slab): void {
    const size = slab.buffer.byteLength
    this.usedBytes -= size
    if (size === SLAB_BYTES) this.#sharedOut--
    const poolable = size % SLAB_BYTES === 0 && size <= POOLED_SLAB_BYTES_MAX
    if (poolable && this.#freeBytes + size <= POOLED_BYTES_MAX) {
      slab.used = 0
      this.#freeBytes += size
      const list = this.#free.get(size)
      if (list === undefined) this.#free.set(size, [slab])
      else list.push(slab)
    }
    this.#wake()
  }

  /** Counts memory that does not come from here. */
  charge(bytes: number): void {
    this.usedBytes += bytes
  }

  discharge(bytes: number): void {
    this.usedBytes -= bytes
    this.#wake()
  }

  hasRoom(bytes: number): boolean {
    return this.usedBytes + bytes <= this.maxBytes
  }

  /** Calls back once, when something was given back. */
  wait(onroom: () => void): void {
    this.#waiting.add(onroom)
  }

  cancelWait(onroom: () => void): void {
    this.#waiting.delete(onroom)
  }

  #allocate(bytes: number): Slab {
    this.usedBytes += bytes
    return { buffer: Buffer.allocUnsafeSlow(bytes), used: 0, refs: 0 }
  }

  /** Later, because whoever gives something back is in the middle of its own work. */
  #wake(): void {
    if (this.#waiting.size === 0 || this.#waking) return
    this.#waking = true
    queueMicrotask(() => {
      this.#waking = false
      const callbacks = [...this.#waiting]
      this.#waiting.clear()
      for (const onroom of callbacks) onroom()
    })
  }
}

/** Powers of two, so that sizes that differ a little share a list; the largest are cut to size. */
function classOf(bytes: number): number {
  if (bytes > POOLED_SLAB_BYTES_MAX) return bytes
  let size = SLAB_BYTES * 2
  while (size < bytes) size *= 2
  return size
}
