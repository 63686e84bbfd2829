/**
 * Gets segments near what a guest had to wait for, while it waits and until it waits again: into this device's store,
 * so that the next read finds them there. Behind everything that is waited for, and never so many at a time that it
 * would wait behind them (`ahead-window.ts`).
 *
 * Where all is stored here already, a few requests after a miss find that out, and no more go out.
 */
import safetyCatch from 'safety-catch'
import { AheadWindow } from './ahead-window.ts'
import { Nearby, type Terrain } from './nearby.ts'
import { segmentName } from './segment-cache.ts'

/** Segments in one request are a share of the window, and at most that many. */
const REQUEST_SHARE = 4
const REQUEST_MAX = 8
/** So many requests in a row that lacked nothing: it is all here. */
const IDLE_MAX = 8

export interface NearPrefetchOptions {
  /** Resolves with how many of them had to come from peers, when all are stored here. */
  fetch(log: number, blocks: number[]): Promise<number>
}

export class NearPrefetch {
  readonly #opts: NearPrefetchOptions
  readonly #nearby = new Nearby()
  readonly #window = new AheadWindow()
  #underWay = 0
  #idle = 0

  constructor(opts: NearPrefetchOptions) {
    this.#opts = opts
  }

  /** A guest waits for that chunk and for these segments. */
  missed(map: Terrain, chunk: number, places: { log: number; block: number }[]): void {
    for (const { log, block } of places) this.#nearby.know(segmentName(log, block))
    this.#nearby.missed(map, chunk)
    this.#fill()
  }

  #fill(): void {
    const { size } = this.#window
    while (this.#underWay < size) {
      const max = Math.min(REQUEST_MAX, Math.max(1, Math.floor(size / REQUEST_SHARE)))
      const request = this.#next(Math.min(max, size - this.#underWay))
      if (request === null) return
      this.#underWay += request.blocks.length
      this.#fetch(request.log, request.blocks, this.#underWay).then(
        () => this.#fill(),
        safetyCatch // the next miss tries again elsewhere
      )
    }
  }

  async #fetch(log: number, blocks: number[], underWay: number): Promise<void> {
    const began = performance.now()
    try {
      const missing = await this.#opts.fetch(log, blocks)
      if (missing > 0) {
        this.#idle = 0
        this.#window.answered(performance.now() - began, underWay)
      } else if (++this.#idle >= IDLE_MAX) this.#nearby.forget()
    } finally {
      this.#underWay -= blocks.length
    }
  }

  /** Segments of one log. */
  #next(max: number): { log: number; blocks: number[] } | null {
    const first = this.#nearby.next()
    if (first === null) return null
    const blocks = [first.block]
    while (blocks.length < max) {
      const place = this.#nearby.next(first.log)
      if (place === null) break
      blocks.push(place.block)
    }
    return { log: first.log, blocks }
  }
}
