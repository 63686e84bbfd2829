/** Simulated time: a clock that jumps from one event to the next. */
import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../../lib/base/clock.ts'

interface Event {
  atMs: number
  order: number
  run(): void
}

export class SimClock implements Clock {
  #nowMs = 1000
  #order = 0
  /** A binary heap, soonest first; what is at the same time in the order in which it was planned. */
  readonly #heap: Event[] = []

  now(): number {
    return this.#nowMs
  }

  monotonic(): number {
    return this.#nowMs
  }

  after(ms: number, run: () => void): void {
    const event = { atMs: this.#nowMs + Math.max(0, ms), order: this.#order++, run }
    const heap = this.#heap
    let i = heap.push(event) - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(event, heap[parent])) break
      heap[i] = heap[parent]
      i = parent
    }
    heap[i] = event
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onabort = () => reject(signal!.reason as Error)
      if (signal?.aborted) return onabort()
      signal?.addEventListener('abort', onabort, { once: true })
      this.after(ms, () => {
        signal?.removeEventListener('abort', onabort)
        resolve()
      })
    })
  }

  /** Lets time pass until `done`, or until that much has passed, or nothing more is planned. */
  async run(done: () => boolean, limitMs: number): Promise<boolean> {
    const endMs = this.#nowMs + limitMs
    await turn()
    while (!done()) {
      const event = this.#heap[0]?.atMs <= endMs ? this.#take() : null
      if (event === null) {
        if (this.#heap.length > 0) this.#nowMs = endMs
        return false
      }
      this.#nowMs = event.atMs
      event.run()
      await turn()
    }
    return true
  }

  #take(): Event | null {
    const heap = this.#heap
    if (heap.length === 0) return null
    const top = heap[0]
    const last = heap.pop()!
    if (heap.length === 0) return top
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child++
      if (!before(heap[child], last)) break
      heap[i] = heap[child]
      i = child
    }
    heap[i] = last
    return top
  }
}

function before(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
