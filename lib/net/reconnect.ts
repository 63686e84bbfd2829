/**
 * Tries again to reach devices that should be connected. Hyperswarm itself gives up on a peer for ten minutes
 * after four failures, while a guest may be waiting for a page.
 */
import type { Clock } from '../base/clock.ts'

const TICK_MS = 1000
const RETRY_MS_MIN = 2000
const RETRY_MS_MAX = 60_000
/** While somebody waits for data. */
const RETRY_MS_WAITING = 5000
/** While somebody is missing, look up the topic again: two devices that start together miss each other. */
const REFRESH_MS_MIN = 2000
const REFRESH_MS_MAX = 60_000

export interface ReconnectorOptions {
  clock: Clock
  /** Devices that should be connected and are not. */
  missing(): Buffer[]
  /** Somebody waits for data. */
  waiting(): boolean
  connect(publicKey: Buffer): void
  /** Looks for devices by the topic. */
  refresh(): void
}

export class Reconnector {
  readonly #opts: ReconnectorOptions
  readonly #tries = new Map<string, { atMs: number; waitMs: number }>()
  #timer: NodeJS.Timeout | null = null
  #refreshedAtMs = 0
  #refreshMs = REFRESH_MS_MIN

  constructor(opts: ReconnectorOptions) {
    this.#opts = opts
  }

  start(): void {
    this.#refreshedAtMs = this.#opts.clock.monotonic()
    this.#timer = setInterval(() => this.tick(), TICK_MS).unref()
    this.tick()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  /** Something changed: try soon. */
  wake(): void {
    this.#tries.clear()
    this.#refreshMs = REFRESH_MS_MIN
  }

  tick(): void {
    const { clock, missing, waiting, connect, refresh } = this.#opts
    const nowMs = clock.monotonic()
    const absent = missing()
    const limitMs = waiting() ? RETRY_MS_WAITING : RETRY_MS_MAX
    for (const publicKey of absent) {
      const id = publicKey.toString('hex')
      const last = this.#tries.get(id)
      if (last !== undefined && nowMs - last.atMs < Math.min(last.waitMs, limitMs)) continue
      const waitMs = last === undefined ? RETRY_MS_MIN : Math.min(RETRY_MS_MAX, 2 * last.waitMs)
      this.#tries.set(id, { atMs: nowMs, waitMs })
      connect(publicKey)
    }
    if (absent.length === 0 || nowMs - this.#refreshedAtMs < this.#refreshMs) return
    this.#refreshedAtMs = nowMs
    this.#refreshMs = Math.min(REFRESH_MS_MAX, 2 * this.#refreshMs)
    refresh()
  }
}
