/** How many unproven callers a listener bears: in all, from one address, and how often from one address. */
import type { Clock } from '../../base/clock.ts'

const HALF_OPEN_MAX = 32
const HALF_OPEN_PER_HOST_MAX = 8
/** Calls of one address in a window. */
const CALLS_MAX = 60
const WINDOW_MS = 10_000
/** Addresses remembered; when there are more in one window, new ones wait. */
const HOSTS_MAX = 1024

export class CallLimits {
  readonly #clock: Clock
  readonly #halfOpen = new Map<string, number>()
  #calls = new Map<string, number>()
  #windowAtMs = 0
  #total = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** False: hang up. Else call `leave` when the caller has proven itself, or is gone. */
  enter(host: string): boolean {
    const nowMs = this.#clock.monotonic()
    if (nowMs - this.#windowAtMs >= WINDOW_MS) {
      this.#windowAtMs = nowMs
      this.#calls = new Map()
    }
    const calls = (this.#calls.get(host) ?? 0) + 1
    if (calls === 1 && this.#calls.size >= HOSTS_MAX) return false
    this.#calls.set(host, calls)
    const halfOpen = this.#halfOpen.get(host) ?? 0
    if (calls > CALLS_MAX || halfOpen >= HALF_OPEN_PER_HOST_MAX || this.#total >= HALF_OPEN_MAX) {
      return false
    }
    this.#halfOpen.set(host, halfOpen + 1)
    this.#total++
    return true
  }

  leave(host: string): void {
    const halfOpen = this.#halfOpen.get(host)! - 1
    if (halfOpen === 0) this.#halfOpen.delete(host)
    else this.#halfOpen.set(host, halfOpen)
    this.#total--
  }
}
