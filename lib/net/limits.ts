/**
 * What the user allows transfers to take, in both directions, over all peers together. What somebody waits for,
 * and what a resume streams, passes. Event: `change`.
 */
import { EventEmitter } from 'node:events'
import type { Rate } from '../base/rate.ts'
import { RateLimit } from './rate-limit.ts'

export class Limits extends EventEmitter {
  readonly down = new RateLimit()
  readonly up = new RateLimit()
  #metered = false

  constructor() {
    super()
    this.setMaxListeners(0)
  }

  /** Every byte costs: nothing in the background. */
  get metered(): boolean {
    return this.#metered
  }

  /** Takes effect at once. */
  set(limits: { down: Rate; up: Rate; metered: boolean }, nowMs = performance.now()): void {
    this.down.set(limits.down, nowMs)
    this.up.set(limits.up, nowMs)
    this.#metered = limits.metered
    this.emit('change')
  }
}
