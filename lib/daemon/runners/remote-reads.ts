/** Reads of one runner's guest that other devices had to answer: how many, and for how long one or more of them waited. */
export class RemoteReads {
  /** One counts once, however many blocks it lacks. */
  faults = 0
  readonly #all: RemoteReads | null
  #waiting = 0
  #sinceMs = 0
  #stalledMs = 0

  /** @param all those that these belong to, too */
  constructor(all: RemoteReads | null = null) {
    this.#all = all
  }

  /** Milliseconds during which any waited. */
  get stalledMs(): number {
    return this.#stalledMs + (this.#waiting > 0 ? performance.now() - this.#sinceMs : 0)
  }

  begin(): void {
    this.#all?.begin()
    this.faults++
    if (this.#waiting++ === 0) this.#sinceMs = performance.now()
  }

  end(): void {
    this.#all?.end()
    if (--this.#waiting === 0) this.#stalledMs += performance.now() - this.#sinceMs
  }
}
