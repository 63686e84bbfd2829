/**
 * Syncs of one file, shared by all who need one. A sync that failed is never forgotten: the kernel reports an error
 * once and may have dropped the data, so all later ones fail too.
 */
import { faultPoint } from '../base/fault-point.ts'
import { HyperparcelError } from '../base/errors.ts'
import type { OverlayFile } from './overlay-file.ts'
import { SharedSync } from './shared-sync.ts'

export class FileSync {
  /** A write ended that no sync has covered. */
  unsynced = false
  failure: HyperparcelError | null = null
  readonly #file: OverlayFile
  readonly #name: string
  readonly #begin: () => Promise<() => void>
  readonly #shared = new SharedSync(() => this.#now())

  /**
   * @param name of the volume, for the error
   * @param begin called when a sync begins; the sync waits for it, and covers what was written until it was called.
   *   What it resolves with is called when the sync succeeded
   */
  constructor(file: OverlayFile, name: string, begin: () => Promise<() => void>) {
    this.#file = file
    this.#name = name
    this.#begin = begin
  }

  /** Covers every write that ended before. */
  run(): Promise<void> {
    return this.#shared.run()
  }

  /** As `run`, without a promise when there is nothing to wait for. */
  runIfNeeded(): void | Promise<void> {
    if (this.failure !== null) return Promise.reject(this.failure)
    // Without something new, one that runs may still be on its way for what was written before.
    return this.unsynced ? this.run() : (this.#shared.running ?? undefined)
  }

  async #now(): Promise<void> {
    if (this.failure !== null) throw this.failure
    this.unsynced = false
    const succeeded = await this.#begin()
    try {
      faultPoint('syncing')
      await this.#file.datasync()
      faultPoint('synced')
    } catch (err) {
      this.failure = new HyperparcelError(
        'SYNC_FAILED',
        `Writing the changes of ${this.#name} to the disk failed`,
        { hint: 'Check the disk. What was flushed before is safe.', cause: err }
      )
      throw this.failure
    }
    succeeded()
  }
}
