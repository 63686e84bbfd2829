/** Chunks that are being changed in part: read, merged, written. Others that would write them wait. */
export class ChunkLocks {
  readonly #locked = new Map<number, Promise<void>>()

  get size(): number {
    return this.#locked.size
  }

  /** When the first locked chunk of the range is free; null when none is locked. Look again afterwards. */
  blocker(first: number, count: number): Promise<void> | null {
    if (count < this.#locked.size) {
      for (let chunk = first; chunk < first + count; chunk++) {
        const locked = this.#locked.get(chunk)
        if (locked !== undefined) return locked
      }
      return null
    }
    for (const [chunk, locked] of this.#locked) {
      if (chunk >= first && chunk < first + count) return locked
    }
    return null
  }

  /** The chunk must be free. Returns what unlocks it. */
  lock(chunk: number): () => void {
    let unlock!: () => void
    const locked = new Promise<void>((resolve) => {
      unlock = () => {
        this.#locked.delete(chunk)
        resolve()
      }
    })
    this.#locked.set(chunk, locked)
    return unlock
  }
}
