/**
 * Holds back what readers may still be looking at: a slot that became free is handed out again only when every
 * read that began before that has ended.
 */
export interface Epoch {
  readers: number
  retired: (() => void)[]
}

export class ReadEpochs {
  /** Reads under way. */
  active = 0
  readonly #epochs: Epoch[] = [{ readers: 0, retired: [] }]

  /** A read begins; give the result to `end`. */
  begin(): Epoch {
    let epoch = this.#epochs.at(-1)!
    if (epoch.retired.length > 0) {
      epoch = { readers: 0, retired: [] }
      this.#epochs.push(epoch)
    }
    epoch.readers++
    this.active++
    return epoch
  }

  end(epoch: Epoch): void {
    epoch.readers--
    this.active--
    this.#advance()
  }

  /** Calls `free` when the reads that are under way have ended, at once when there are none. */
  retire(free: () => void): void {
    const epoch = this.#epochs.at(-1)!
    if (this.#epochs.length === 1 && epoch.readers === 0) return free()
    epoch.retired.push(free)
  }

  /** Something waits for readers. */
  get waiting(): boolean {
    return this.#epochs.some((epoch) => epoch.retired.length > 0)
  }

  #advance(): void {
    while (this.#epochs[0].readers === 0) {
      const epoch = this.#epochs[0]
      const retired = epoch.retired
      epoch.retired = []
      for (const free of retired) free()
      if (this.#epochs.length === 1) break
      this.#epochs.shift()
    }
  }
}
