/**
 * One direction of a simulated link: messages in order, at a rate, after a delay. A lost packet shows as a message
 * that comes late, with all behind it, as from a stream. Bytes, milliseconds.
 */
import type { SimClock } from './sim-clock.ts'

export interface LinkConditions {
  /** Bytes per millisecond. */
  rate: number
  delayMs: number
  /** Share of messages that are held up, and for how long. */
  loss?: number
  lossMs?: number
  /** It works for so long, then does not for so long, and so on. */
  upMs?: number
  downMs?: number
}

/** A stream asks to wait when more than that has not left. */
const HIGH_WATER_BYTES = 16 * 1024

export class SimLink {
  readonly conditions: LinkConditions
  readonly #clock: SimClock
  readonly #random: () => number
  readonly #ondrain: () => void
  readonly #queue: { bytes: number; deliver: () => void }[] = []
  #sending = false
  #queuedBytes = 0
  #lastArrivalMs = 0
  /** Of what arrived: whole messages, and the one under way. */
  #arrivedBytes = 0
  #dead = false

  constructor(
    clock: SimClock,
    random: () => number,
    conditions: LinkConditions,
    ondrain = () => {}
  ) {
    this.#clock = clock
    this.#random = random
    this.conditions = conditions
    this.#ondrain = ondrain
  }

  get drained(): boolean {
    return this.#queuedBytes <= HIGH_WATER_BYTES
  }

  /** Grows while a message arrives. */
  get arrivedBytes(): number {
    return Math.floor(this.#arrivedBytes)
  }

  /** Nothing arrives any more, and nobody is told. */
  die(): void {
    this.#dead = true
  }

  /** False when the sender should wait. */
  send(bytes: number, deliver: () => void): boolean {
    if (this.#dead) return this.drained
    this.#queue.push({ bytes, deliver })
    this.#queuedBytes += bytes
    this.#next()
    return this.drained
  }

  #next(): void {
    const message = this.#queue[0]
    if (this.#sending || message === undefined) return
    this.#sending = true
    const { rate, delayMs, loss = 0, lossMs = 0 } = this.conditions
    const startMs = this.#upAtMs() - this.#clock.monotonic()
    this.#clock.after(startMs + message.bytes / rate, () => {
      this.#queue.shift()
      const wasDrained = this.drained
      this.#queuedBytes -= message.bytes
      this.#sending = false
      const heldMs = this.#random() < loss ? lossMs : 0
      const nowMs = this.#clock.monotonic()
      this.#lastArrivalMs = Math.max(this.#lastArrivalMs, nowMs + delayMs + heldMs)
      this.#clock.after(this.#lastArrivalMs - nowMs, () => {
        if (this.#dead) return
        this.#arrivedBytes += message.bytes / 2
        message.deliver()
      })
      // Its first half arrives while the second is sent.
      this.#next()
      if (!wasDrained && this.drained) this.#ondrain()
    })
    this.#clock.after(startMs + message.bytes / rate / 2 + delayMs, () => {
      if (!this.#dead) this.#arrivedBytes += message.bytes / 2
    })
  }

  /** When it works again; now, where it does. */
  #upAtMs(): number {
    const nowMs = this.#clock.monotonic()
    const { upMs = 0, downMs = 0 } = this.conditions
    if (downMs === 0) return nowMs
    const phase = nowMs % (upMs + downMs)
    return phase < upMs ? nowMs : nowMs + upMs + downMs - phase
  }
}
