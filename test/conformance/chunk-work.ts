/** What every `ChunkWork` must do. */
import { randomBytes } from 'node:crypto'
import type { Test } from 'brittle'
import { CHUNK_BYTES, SEGMENT_DATA_BYTES } from '../../lib/base/limits.ts'
import { writeChunkId } from '../../lib/chunk/ids.ts'
import { sealedBytesMax } from '../../lib/chunk/jobs.ts'
import { openSegment, openSegmentIds } from '../../lib/chunk/segment.ts'
import type { ChunkWork } from '../../lib/parcel/chunk-work.ts'

const dedupKey = randomBytes(32)

export function chunkWorkSuite(test: Test, name: string, work: ChunkWork): void {
  test(`${name}: ids of many leaves at once`, async (t) => {
    const leaves = Array.from({ length: 12 }, (_, i) => leafOf(1 + i * 37))
    const wanted = leaves.map(idsOf)
    const copies = leaves.map((leaf) => Buffer.from(leaf))
    const done = await Promise.all(
      leaves.map((data) =>
        work.hash({ kind: 'hash', data, chunks: data.byteLength / CHUNK_BYTES, dedupKey })
      )
    )
    t.ok(done.every(({ ids }, i) => ids.equals(wanted[i])))
    t.ok(
      done.every(({ data }, i) => data.equals(copies[i])),
      'buffers come back'
    )
  })

  test(`${name}: a level of compression is obeyed`, async (t) => {
    const keys = { id: randomBytes(32), data: randomBytes(32), meta: randomBytes(32) }
    const words = Array.from({ length: 200 }, () => randomBytes(6))
    const text = Array.from({ length: 11_000 }, () => words[randomBytes(1)[0] % words.length])
    const content = Buffer.concat(text).subarray(0, SEGMENT_DATA_BYTES)
    const bytes: number[] = []
    for (const compressionLevel of [1, 9]) {
      const sealed = await work.seal({
        kind: 'seal',
        data: Buffer.from(new Uint8Array(content).buffer),
        chunks: [16],
        ids: Buffer.from(new Uint8Array(16 * 32).buffer),
        target: Buffer.allocUnsafeSlow(sealedBytesMax(1)),
        log: randomBytes(32),
        first: 0,
        keys,
        keyEpoch: 1,
        compressionLevel
      })
      bytes.push(sealed.lengths[0])
    }
    t.ok(bytes[1] < bytes[0], `${bytes.join(' and ')} bytes`)
  })

  test(`${name}: segments open at their places`, async (t) => {
    const log = randomBytes(32)
    const keys = { id: randomBytes(32), data: randomBytes(32), meta: randomBytes(32) }
    const chunks = [16, 1, 7, 16]
    const data = Buffer.alloc(chunks.length * SEGMENT_DATA_BYTES, 'text that can be compressed ')
    randomBytes(SEGMENT_DATA_BYTES).copy(data, SEGMENT_DATA_BYTES * 3)
    const ids = randomBytes(40 * 32)
    const target = Buffer.allocUnsafeSlow(sealedBytesMax(chunks.length))
    const copies = { data: Buffer.from(data), ids: Buffer.from(ids) }
    const job = { kind: 'seal' as const, data, chunks, ids, target, log, first: 70, keys }
    const sealed = await work.seal({ ...job, keyEpoch: 3, compressionLevel: 3 })
    const opening = Buffer.alloc(SEGMENT_DATA_BYTES)
    let at = 0
    let idsAt = 0
    chunks.forEach((count, i) => {
      const block = sealed.target.subarray(at, (at += sealed.lengths[i]))
      const opened = openSegment(block, log, 70 + i, keys.data, opening)
      const from = i * SEGMENT_DATA_BYTES
      t.ok(opened.equals(copies.data.subarray(from, from + count * CHUNK_BYTES)))
      const some = openSegmentIds(block, log, 70 + i, keys.id)
      t.ok(some.equals(copies.ids.subarray(idsAt, (idsAt += count * 32))))
    })
    t.ok(sealed.lengths[0] < 2000, 'compressed')
    t.ok(sealed.data.equals(copies.data) && sealed.ids.equals(copies.ids), 'buffers come back')
  })
}

/** Every third chunk is zeros. */
function leafOf(chunks: number): Buffer {
  const data = Buffer.allocUnsafeSlow(chunks * CHUNK_BYTES)
  randomBytes(data.byteLength).copy(data)
  for (let i = 0; i < chunks; i += 3) data.fill(0, i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES)
  return data
}

function idsOf(data: Buffer): Buffer {
  const chunks = data.byteLength / CHUNK_BYTES
  const ids = Buffer.alloc(chunks * 32)
  for (let i = 0; i < chunks; i++) {
    if (i % 3 !== 0) writeChunkId(ids, i, data, i * CHUNK_BYTES, dedupKey)
  }
  return ids
}
