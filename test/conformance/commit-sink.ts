/** What every `CommitSink` must do, and the `BlockReader` that reads what was committed. */
import { randomBytes } from 'node:crypto'
import type { Assert, Test } from 'brittle'
import { CHUNK_BYTES, CHUNK_ID_BYTES, SEGMENT_CHUNKS_MAX } from '../../lib/base/limits.ts'
import { sealSegment } from '../helpers/segment.ts'
import type { BlockReader } from '../../lib/parcel/block-reader.ts'
import type { CommitSink } from '../../lib/parcel/commit-sink.ts'
import { LogTable } from '../../lib/parcel/log-table.ts'

/** A store with one log for commits. */
export interface SinkStore {
  begin(): Promise<CommitSink>
  /** Ends that commit with its record. */
  publish(sink: CommitSink, record: Buffer, at: number): Promise<void>
  /** The next commit goes to a new log. */
  retire(): Promise<void>
  reader(logs: LogTable): BlockReader
}

export type SinkStoreFactory = (t: Assert) => Promise<SinkStore>

const SEGMENT_ID_BYTES = SEGMENT_CHUNKS_MAX * CHUNK_ID_BYTES

export function commitSinkSuite(test: Test, name: string, factory: SinkStoreFactory): void {
  test(`${name}: what was appended is found by its ids at once`, async (t) => {
    const store = await factory(t)
    const sink = await store.begin()
    t.is(sink.firstBlock, 0)
    const one = segment(sink, 0, 16)
    const two = segment(sink, 1, 3)
    t.alike([...(await sink.lookup(one.ids))], Array(48).fill(0), 'unknown before')
    await append(sink, 0, [one, two])
    const wanted = Buffer.concat([two.ids, randomBytes(32), one.ids.subarray(32, 64)])
    const places = await sink.lookup(wanted)
    const handle = places[0]
    t.ok(handle > 0)
    t.alike(
      [...places],
      [...[handle, 1, 0, handle, 1, 1, handle, 1, 2], ...[0, 0, 0], ...[handle, 0, 1]]
    )
    t.alike(sink.logOf(handle - 1), sink.log)
    t.is((await sink.lookup(Buffer.alloc(0))).length, 0)
    const ids = await sink.idsOf([sink.log], Uint32Array.from([0, 1, 0, 0]))
    t.is(ids.byteLength, 2 * SEGMENT_ID_BYTES)
    t.alike(ids.subarray(0, 96), two.ids)
    t.alike(ids.subarray(96, SEGMENT_ID_BYTES), Buffer.alloc(SEGMENT_ID_BYTES - 96))
    t.alike(ids.subarray(SEGMENT_ID_BYTES), one.ids)
  })

  test(`${name}: blocks land where the commit said, or not at all`, async (t) => {
    const store = await factory(t)
    const sink = await store.begin()
    const one = segment(sink, 0, 1)
    await t.exception(append(sink, 1, [one]), { code: 'COMMIT_STALE' })
    t.is((await sink.lookup(one.ids))[0], 0, 'nothing was appended')
    await append(sink, 0, [one])
    await t.exception(append(sink, 0, [one]), { code: 'COMMIT_STALE' })
    t.alike((await sink.heads([sink.log]))[0].length, 1)
  })

  test(`${name}: a commit ends the one before`, async (t) => {
    const store = await factory(t)
    const first = await store.begin()
    await append(first, 0, [segment(first, 0, 2)])
    const second = await store.begin()
    t.is(second.firstBlock, 1, 'what was appended stays')
    await t.exception(append(first, 1, [segment(first, 1, 2)]), { code: 'COMMIT_STALE' })
    const kept = segment(second, 1, 2)
    await append(second, 1, [kept])
    await store.publish(second, record(second, 2), 2)
    await t.exception(append(second, 3, [kept]), { code: 'COMMIT_STALE' }, 'nor after its record')
    const third = await store.begin()
    t.is(third.firstBlock, 3)
    t.ok((await third.lookup(kept.ids))[0] > 0, 'found by the next commit')
  })

  test(`${name}: heads tell lengths and hashes`, async (t) => {
    const store = await factory(t)
    const sink = await store.begin()
    const lengths: number[] = []
    const hashes = new Set<string>()
    for (let i = 0; i < 3; i++) {
      await append(sink, i, [segment(sink, i, 1)])
      const [head] = await sink.heads([sink.log])
      lengths.push(head.length)
      t.is(head.treeHash.byteLength, 32)
      hashes.add(head.treeHash.toString('hex'))
    }
    t.alike(lengths, [1, 2, 3])
    t.is(hashes.size, 3)
  })

  test(`${name}: a retired log is still read and named`, async (t) => {
    const store = await factory(t)
    const old = await store.begin()
    const one = segment(old, 0, 16)
    await append(old, 0, [one])
    await store.publish(old, record(old, 1), 1)
    await store.retire()
    const sink = await store.begin()
    t.unlike(sink.log, old.log)
    t.is(sink.firstBlock, 0)
    const two = segment(sink, 0, 1)
    await append(sink, 0, [two])
    const places = await sink.lookup(Buffer.concat([one.ids.subarray(0, 32), two.ids]))
    t.alike(sink.logOf(places[0] - 1), old.log)
    t.alike(sink.logOf(places[3] - 1), sink.log)
    const heads = await sink.heads([old.log, sink.log])
    t.alike(
      heads.map(({ length }) => length),
      [2, 1]
    )

    const logs = new LogTable([sink.log, old.log])
    const reader = store.reader(logs)
    t.alike(await reader.read(1, [0]), [one.block])
    t.alike(await reader.read(0, [0]), [two.block])
  })

  test(`${name}: blocks are read in the order asked for`, async (t) => {
    const store = await factory(t)
    const sink = await store.begin()
    const made: Segment[] = []
    for (let i = 0; i < 40; i++) made.push(segment(sink, i, 1 + (i % 16)))
    await append(sink, 0, made)
    const order = [7, 0, 39, 7, 20]
    const read = await store.reader(new LogTable([sink.log])).read(0, order)
    t.alike(
      read,
      order.map((i) => made[i].block)
    )
    read[0].fill(0)
    t.alike(await store.reader(new LogTable([sink.log])).read(0, [7]), [made[7].block])
  })
}

interface Segment {
  block: Buffer
  ids: Buffer
  chunks: number
}

function segment(sink: CommitSink, index: number, chunks: number): Segment {
  const ids = randomBytes(chunks * CHUNK_ID_BYTES)
  const data = randomBytes(chunks * CHUNK_BYTES)
  const block = sealSegment(data, ids, sink.log, index, sink.keys, sink.keyEpoch)
  return { block, ids, chunks }
}

/** Any block will do where nobody opens it. */
function record(sink: CommitSink, index: number): Buffer {
  return segment(sink, index, 1).block
}

function append(sink: CommitSink, first: number, segments: Segment[]): Promise<void> {
  return sink.append({
    first,
    data: Buffer.concat(segments.map(({ block }) => block)),
    lengths: segments.map(({ block }) => block.byteLength),
    chunks: segments.map(({ chunks }) => chunks),
    ids: Buffer.concat(segments.map(({ ids }) => ids))
  })
}
