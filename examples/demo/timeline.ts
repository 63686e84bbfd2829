/** What happens, while it happens: one line an event, with the seconds since the start and where it is. */
import type { Writable } from 'node:stream'
import { performance } from 'node:perf_hooks'

const PLACE_WIDTH = 7

export class Timeline {
  readonly #out: Writable
  readonly #began = performance.now()

  constructor(out: Writable) {
    this.#out = out
  }

  get seconds(): number {
    return (performance.now() - this.#began) / 1000
  }

  /** A heading. */
  part(text: string): void {
    this.#out.write(`\n${text}\n`)
  }

  say(place: string, text: string): void {
    this.#out.write(
      `${this.seconds.toFixed(1).padStart(6)} s  ${place.padEnd(PLACE_WIDTH)} ${text}\n`
    )
  }

  /** Lines without a time. */
  print(text: string): void {
    this.#out.write(`${text}\n`)
  }
}
