import test from 'brittle'
import { randomBytes } from 'node:crypto'
import { CHUNK_BYTES, MAP_LEAF_CHUNKS } from '../../../lib/base/limits.ts'
import { openSegment } from '../../../lib/chunk/segment.ts'
import { refSlot } from '../../../lib/format/map.ts'
import { Commit, type CommitMeta, type VolumeCommit } from '../../../lib/parcel/commit.ts'
import { LogTable } from '../../../lib/parcel/log-table.ts'
import { closureOf } from '../../../lib/parcel/closure.ts'
import { VersionReader, openVersion } from '../../../lib/parcel/version-reader.ts'
import { VolumeMap } from '../../../lib/parcel/volume-map.ts'
import { MemorySink } from '../../helpers/memory-sink.ts'

const dedupKey = randomBytes(32)
const empty = (chunks: number) =>
  new VolumeMap(chunks, null, () => Promise.reject(new Error('nothing to load')))

function meta(number: number): CommitMeta {
  return {
    parcel: Buffer.alloc(16, 1),
    number,
    parent: null,
    lease: null,
    author: Buffer.alloc(32, 2),
    time: 1234,
    message: 'hello',
    cause: 'create',
    machine: null
  }
}

/** Commits a whole volume's content over a base. */
async function commitContent(
  sink: MemorySink,
  logs: LogTable,
  base: VolumeMap,
  chunks: Map<number, Buffer>,
  number: number,
  state: Buffer[] | null = null
): Promise<VersionReader> {
  const commit = new Commit(sink.begin(), dedupKey, logs)
  const volume: VolumeCommit = {
    name: 'disk0',
    sizeBytes: base.chunks * CHUNK_BYTES,
    readOnly: false,
    base,
    changed: new Map()
  }
  const leaves = new Map<number, number[]>()
  for (const chunk of [...chunks.keys()].sort((a, b) => a - b)) {
    const leaf = Math.floor(chunk / MAP_LEAF_CHUNKS)
    leaves.set(leaf, [...(leaves.get(leaf) ?? []), chunk])
  }
  await Promise.all(
    [...leaves].map(([index, list]) =>
      commit.addLeaf(volume, {
        index,
        places: list.map((n) => n % MAP_LEAF_CHUNKS),
        data: Buffer.concat(list.map((n) => chunks.get(n)!)),
        zeros: []
      })
    )
  )
  const { block, id, at } = await commit.finish(meta(number), [volume], state)
  sink.publish(block)
  const opened = openVersion(block, sink.log, at, sink.keys.meta, id)
  return new VersionReader(opened, sink.reader(logs), () => sink.keys.meta)
}

async function readChunk(sink: MemorySink, version: VersionReader, chunk: number) {
  const leaf = await version.map('disk0').loadLeaf(Math.floor(chunk / MAP_LEAF_CHUNKS))
  const at = chunk % MAP_LEAF_CHUNKS
  if (leaf.refs[at] === 0) return Buffer.alloc(CHUNK_BYTES)
  const segment = openSegment(
    sink.blocks[leaf.blocks[at]],
    sink.log,
    leaf.blocks[at],
    sink.keys.data
  )
  const slot = refSlot(leaf.refs[at])
  return segment.subarray(slot * CHUNK_BYTES, (slot + 1) * CHUNK_BYTES)
}

test('a version reads back chunk by chunk, over three map levels', async (t) => {
  const sink = new MemorySink()
  const logs = new LogTable()
  const size = 300 * 1024 * MAP_LEAF_CHUNKS // 1.2 TiB: two inner levels
  const content = new Map<number, Buffer>()
  for (let i = 0; i < 3000; i++) content.set(i, randomBytes(CHUNK_BYTES))
  for (const far of [5_000_000, 100_000_000, size - 1]) content.set(far, randomBytes(CHUNK_BYTES))
  content.set(7, Buffer.alloc(CHUNK_BYTES))
  const state = [randomBytes(3_000_000)]
  const version = await commitContent(sink, logs, empty(size), content, 1, state)
  let wrong = 0
  for (const [chunk, data] of content) {
    if (!(await readChunk(sink, version, chunk)).equals(data)) wrong++
  }
  t.is(wrong, 0)
  t.ok((await readChunk(sink, version, 4_000_000)).equals(Buffer.alloc(CHUNK_BYTES)))
  const pieces: Buffer[] = []
  for await (const piece of version.state()) pieces.push(piece)
  t.ok(Buffer.concat(pieces).equals(state[0]), 'device state')
  const closure = await closureOf(version)
  t.is(closure.count, sink.blocks.length - 1, 'the closure is all but the record')
})

test('repeated and unchanged chunks are stored once', async (t) => {
  const sink = new MemorySink()
  const logs = new LogTable()
  const same = randomBytes(CHUNK_BYTES)
  const content = new Map<number, Buffer>()
  for (let i = 0; i < 2500; i++) content.set(i, same)
  const first = await commitContent(sink, logs, empty(4096), content, 1)
  t.is(first.record.bytesNew, CHUNK_BYTES)
  const before = sink.blocks.length
  const changes = new Map([
    [10, randomBytes(CHUNK_BYTES)],
    [11, same]
  ])
  const second = await commitContent(sink, logs, first.map('disk0'), changes, 2)
  t.is(second.record.bytesNew, CHUNK_BYTES)
  t.is(sink.blocks.length - before, 3, 'one segment, one map block, one record')
  t.ok((await readChunk(sink, second, 12)).equals(same), 'unchanged')
  t.ok((await readChunk(sink, second, 10)).equals(changes.get(10)!), 'changed')
  t.ok((await readChunk(sink, first, 10)).equals(same), 'the first version is as it was')
})

test('the content root depends on content, not on the way to it', async (t) => {
  const chunks = Array.from({ length: 40 }, () => randomBytes(CHUNK_BYTES))
  const all = new Map(chunks.map((data, i) => [i * 50, data]))
  const direct = await commitContent(new MemorySink(), new LogTable(), empty(3000), all, 1)
  const sink = new MemorySink()
  const logs = new LogTable()
  const half = new Map([...all].slice(0, 20))
  half.set(50, randomBytes(CHUNK_BYTES))
  const one = await commitContent(sink, logs, empty(3000), half, 1)
  const rest = new Map([...all].slice(20))
  rest.set(50, all.get(50)!)
  const two = await commitContent(sink, logs, one.map('disk0'), rest, 2)
  t.alike(two.volume('disk0').root!.hash, direct.volume('disk0').root!.hash)
  t.unlike(one.volume('disk0').root!.hash, two.volume('disk0').root!.hash)
  const zeros = new Map([...all.keys()].map((i) => [i, Buffer.alloc(CHUNK_BYTES)]))
  const three = await commitContent(sink, logs, two.map('disk0'), zeros, 3)
  t.is(three.volume('disk0').root, null, 'all zeros again')
})
