/**
 * Calls of `fetch()`. A job keeps a window of its indexes wanted, so that a job of a million blocks costs little.
 * It waits without limit; only its signal, a store that refuses, or the end of the network ends it early.
 */
import type { Blocks } from './blocks.ts'
import type { FetchJob, LogWatch, WantedBlock } from './watch.ts'

/** Blocks of one job that are queued or asked for at a time. */
const JOB_WINDOW = 128

export class Jobs {
  readonly #blocks: Blocks
  readonly #askLength: (watch: LogWatch) => void

  constructor(blocks: Blocks, askLength: (watch: LogWatch) => void) {
    this.#blocks = blocks
    this.#askLength = askLength
  }

  /** Resolves when all of them are stored here. */
  run(watch: LogWatch, indexes: number[], rank: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onabort = () => this.abandon(job, signal!.reason)
      const settle = () => signal?.removeEventListener('abort', onabort)
      const job: FetchJob = {
        watch,
        indexes,
        rank,
        cursor: 0,
        open: 0,
        filling: false,
        needsLength: false,
        done: false,
        resolve: () => (settle(), resolve()),
        reject: (err) => (settle(), reject(err))
      }
      signal?.addEventListener('abort', onabort, { once: true })
      watch.jobs.add(job)
      this.advance(job)
    })
  }

  advance(job: FetchJob): void {
    if (job.filling || job.done) return
    job.filling = true
    this.#fillWindow(job).then(
      () => {
        job.filling = false
        if (job.done || job.needsLength || job.open >= JOB_WINDOW / 2) return
        if (job.cursor < job.indexes.length) this.advance(job)
        else if (job.open === 0) this.#resolve(job)
      },
      (err: unknown) => this.abandon(job, err)
    )
  }

  abandon(job: FetchJob, reason: unknown): void {
    if (job.done) return
    job.done = true
    job.watch.jobs.delete(job)
    for (const block of job.watch.blocks.values()) {
      if (block.jobs.delete(job) && block.jobs.size === 0) this.#blocks.drop(block)
    }
    job.reject(reason)
  }

  /** A block is here. */
  finish(block: WantedBlock): void {
    this.#blocks.drop(block)
    for (const job of block.jobs) {
      job.open--
      if (job.open === 0 && job.cursor === job.indexes.length && !job.filling) this.#resolve(job)
      else this.advance(job)
    }
  }

  /** The store refuses a block: whoever waits must know. */
  fail(block: WantedBlock, err: unknown): void {
    this.#blocks.drop(block)
    for (const job of block.jobs) this.abandon(job, err)
  }

  async #fillWindow(job: FetchJob): Promise<void> {
    const { watch, indexes } = job
    job.needsLength = false
    while (!job.done && job.open < JOB_WINDOW && job.cursor < indexes.length) {
      const index = indexes[job.cursor]
      if (index >= watch.log.length) {
        job.needsLength = true
        this.#askLength(watch)
        return
      }
      const here = await watch.log.has(index)
      if (job.done) return
      job.cursor++
      if (here) continue
      job.open++
      this.#blocks.want(watch, index, job.rank).jobs.add(job)
    }
  }

  #resolve(job: FetchJob): void {
    job.done = true
    job.watch.jobs.delete(job)
    job.resolve()
  }
}
