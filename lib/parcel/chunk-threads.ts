/**
 * Threads for the work on chunks. They start when the first job comes, or with `start()`, and end when none has come
 * for a while. Jobs of one thread run one after the other; how many wait is up to the caller (`lanes`).
 */
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { assert, HyperparcelError } from '../base/errors.ts'
import { hashChunks, type Hashed, type HashJob, type Sealed, type SealJob } from '../chunk/jobs.ts'
import type { Request, Response } from './chunk-thread.ts'
import type { ChunkWork } from './chunk-work.ts'
import { asBuffers } from './thread-buffers.ts'

const PROGRAM = new URL('./chunk-thread.js', import.meta.url)
const THREADS_MAX = 8
/** Fewer chunks are hashed here: a message costs more. */
const FEW_CHUNKS = 8
const IDLE_MS = 5000

interface Thread {
  worker: Worker
  pending: Map<number, { resolve(result: object): void; reject(err: Error): void }>
}

export class ChunkThreads implements ChunkWork {
  readonly lanes: number
  #threads: Thread[] = []
  #nextId = 0
  #idleTimer: NodeJS.Timeout | null = null

  constructor(lanes = Math.min(availableParallelism(), THREADS_MAX)) {
    this.lanes = lanes
  }

  /** Starts the threads ahead of the first job: it takes some 50 ms. */
  start(): void {
    while (this.#threads.length < this.lanes) this.#threads.push(this.#startThread())
    this.#idleSoon()
  }

  hash(job: HashJob): Promise<Hashed> {
    if (job.chunks <= FEW_CHUNKS) return Promise.resolve(hashChunks(job))
    return this.#run(job, [job.data]) as Promise<Hashed>
  }

  seal(job: SealJob): Promise<Sealed> {
    return this.#run(job, [job.data, job.ids, job.target]) as Promise<Sealed>
  }

  /** Ends the threads; jobs under way fail. */
  async close(): Promise<void> {
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer)
    const threads = this.#threads
    this.#threads = []
    await Promise.all(threads.map(({ worker }) => worker.terminate()))
  }

  #run(job: HashJob | SealJob, moved: Buffer[]): Promise<object> {
    this.start()
    let thread = this.#threads[0]
    for (const other of this.#threads) if (other.pending.size < thread.pending.size) thread = other
    for (const { byteOffset } of moved) assert(byteOffset === 0, 'a moved buffer is alone')
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      thread.pending.set(id, { resolve, reject })
      const memory = moved.map((buffer) => buffer.buffer as ArrayBuffer)
      thread.worker.postMessage({ id, job } satisfies Request, memory)
    })
  }

  #startThread(): Thread {
    const worker = new Worker(PROGRAM)
    const thread: Thread = { worker, pending: new Map() }
    worker.unref()
    worker.on('message', (response: Response) => {
      const pending = thread.pending.get(response.id)
      thread.pending.delete(response.id)
      if ('error' in response) pending?.reject(failed(response.error))
      else pending?.resolve(asBuffers(response.result as object))
    })
    let reason = 'it was ended'
    worker.on('error', (err) => (reason = err.message))
    worker.on('exit', () => {
      this.#threads = this.#threads.filter((other) => other !== thread)
      for (const { reject } of thread.pending.values()) reject(failed(reason))
    })
    return thread
  }

  #idleSoon(): void {
    if (this.#idleTimer === null) {
      this.#idleTimer = setTimeout(() => {
        this.#idleTimer = null
        if (this.#threads.some(({ pending }) => pending.size > 0)) this.#idleSoon()
        else void this.close()
      }, IDLE_MS)
      this.#idleTimer.unref()
    } else {
      this.#idleTimer.refresh()
    }
  }
}

function failed(message: string): HyperparcelError {
  return new HyperparcelError('INTERNAL', `A thread for chunks failed: ${message}`)
}
