/** One thread of `chunk-threads.ts`: takes jobs, gives their buffers back with the answer. */
import { parentPort } from 'node:worker_threads'
import { hashChunks, sealSegments, type HashJob, type SealJob } from '../chunk/jobs.ts'
import { asBuffers, memoryOf } from './thread-buffers.ts'

export interface Request {
  id: number
  job: HashJob | SealJob
}

export type Response = { id: number; result: unknown } | { id: number; error: string }

const port = parentPort!

port.on('message', ({ id, job }: Request) => {
  try {
    const own = asBuffers(job)
    const result = own.kind === 'hash' ? hashChunks(own) : sealSegments(own)
    port.postMessage({ id, result } satisfies Response, memoryOf(result))
  } catch (err) {
    port.postMessage({ id, error: (err as Error).message } satisfies Response)
  }
})
