/**
 * While a VM runs: guest RAM that changed is written back to its volume every few seconds, so that little is left when
 * the guest is suspended, and so that what it leaves alone can be stored ahead. A guest that changes much is left to
 * the kernel, which writes back by itself in half a minute: a round that took long is followed by a long pause.
 *
 * Nothing depends on it. What a failed round means is for the owner of the memory to know.
 */
import safetyCatch from 'safety-catch'

const PAUSE_MS = 5000
/** A pause lasts at least that many times as long as the round before: a tenth of the time at most. */
const PAUSE_PER_ROUND = 10

export class WriteBack {
  readonly #sync: () => Promise<void>
  readonly #pauseMs: number
  #wanted = false
  #timer: NodeJS.Timeout | null = null
  #round: Promise<void> | null = null

  constructor(sync: () => Promise<void>, pauseMs = PAUSE_MS) {
    this.#sync = sync
    this.#pauseMs = pauseMs
  }

  start(): void {
    this.#wanted = true
    if (this.#timer === null && this.#round === null) this.#after(this.#pauseMs)
  }

  /** No further round begins. One that runs is not waited for: whoever wants the memory synced waits in line. */
  stop(): void {
    this.#wanted = false
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  #after(pauseMs: number): void {
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#round = this.#run()
    }, pauseMs)
    this.#timer.unref()
  }

  async #run(): Promise<void> {
    const began = performance.now()
    await this.#sync().catch(safetyCatch)
    this.#round = null
    const tookMs = performance.now() - began
    if (this.#wanted) this.#after(Math.max(this.#pauseMs, PAUSE_PER_ROUND * tookMs))
  }
}
