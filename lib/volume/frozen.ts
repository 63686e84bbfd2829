/** What a commit reads: everything that was written before the freeze, immutable. */

export interface DirtyRun {
  first: number
  /** Chunks. */
  count: number
  /** They became zero. Some may have been zero in the base already. */
  zero: boolean
}

export interface FrozenContent {
  /** Bytes of data in it. */
  readonly dirtyBytes: number
  /** Its chunks in order. */
  runs(): Iterable<DirtyRun>
  /** Fills target[0…count*4096). All chunks must be in `runs`. Rejects with `DATA_CORRUPT`. */
  read(first: number, count: number, target: Buffer): void | Promise<void>
  /**
   * Notes durably which commit takes this generation, before the version's record is durable: after a crash in
   * between, `Overlay.open` asks whether that version exists.
   */
  markCommit(commitId: string): Promise<void>
  /** The commit failed: its chunks are ordinary changes again, newer writes win. Nothing is lost. */
  abandon(): void
}

/** As the overlay gives it. */
export interface FrozenGeneration extends FrozenContent {
  /**
   * The version `baseId` that contains it is durable: `swap` puts its content under the overlay at the same moment
   * as this generation goes. On an error it is still frozen.
   */
  release(baseId: string, swap: () => void): Promise<void>
}
