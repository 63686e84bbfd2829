/** Makes many callers share few syncs: whoever asks while one runs gets the next, which starts after it asked. */
export class SharedSync {
  readonly #sync: () => Promise<void>
  #running: Promise<void> | null = null
  #next: Promise<void> | null = null

  constructor(sync: () => Promise<void>) {
    this.#sync = sync
  }

  get running(): Promise<void> | null {
    return this.#running
  }

  run(): Promise<void> {
    if (this.#running === null) return this.#start()
    if (this.#next === null) {
      const start = () => {
        this.#next = null
        return this.#start()
      }
      this.#next = this.#running.then(start, start)
    }
    return this.#next
  }

  #start(): Promise<void> {
    const running = this.#sync()
    this.#running = running
    const ended = () => {
      if (this.#running === running) this.#running = null
    }
    running.then(ended, ended)
    return running
  }
}
