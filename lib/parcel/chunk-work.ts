/** Where a commit's work on chunks is done: in this thread, or on several (`chunk-threads.ts`). */
import {
  hashChunks,
  sealSegments,
  type Hashed,
  type HashJob,
  type Sealed,
  type SealJob
} from '../chunk/jobs.ts'

/**
 * Buffers of a job (not its keys) belong to the worker until the answer brings them back, as other objects; each is
 * alone in its memory block, from its start.
 */
export interface ChunkWork {
  /** Jobs that run at the same time. */
  readonly lanes: number
  hash(job: HashJob): Promise<Hashed>
  seal(job: SealJob): Promise<Sealed>
}

/** In this thread, at once. */
export const inlineWork: ChunkWork = {
  lanes: 1,
  hash: (job) => Promise.resolve(hashChunks(job)),
  seal: (job) => Promise.resolve(sealSegments(job))
}
