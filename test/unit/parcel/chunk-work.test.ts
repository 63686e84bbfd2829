import test from 'brittle'
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'
import { ChunkThreads } from '../../../lib/parcel/chunk-threads.ts'
import { inlineWork } from '../../../lib/parcel/chunk-work.ts'
import { chunkWorkSuite } from '../../conformance/chunk-work.ts'

const threads = new ChunkThreads(3)

chunkWorkSuite(test, 'inlineWork', inlineWork)
chunkWorkSuite(test, 'ChunkThreads', threads)

test('threads that end fail their jobs, and new ones start', async (t) => {
  const job = (chunks: number) => ({
    kind: 'hash' as const,
    data: Buffer.allocUnsafeSlow(chunks * CHUNK_BYTES),
    chunks,
    dedupKey: Buffer.alloc(32, 1)
  })
  const hashing = Promise.all(Array.from({ length: 30 }, () => threads.hash(job(1000))))
  hashing.catch(() => {})
  await threads.close()
  await t.exception(hashing, { code: 'INTERNAL' })
  t.is((await threads.hash(job(20))).ids.byteLength, 640)
  const short = { ...job(20), dedupKey: Buffer.alloc(1) }
  await t.exception(threads.hash(short), { code: 'INTERNAL' })
  t.is((await threads.hash(job(20))).ids.byteLength, 640, 'a job that fails fails alone')
  await threads.close()
})
