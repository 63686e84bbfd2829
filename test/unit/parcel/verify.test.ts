/** What is wrong with stored blocks is found, each once, and nothing else is called bad. */
import test from 'brittle'
import { randomBytes } from 'node:crypto'
import { CHUNK_BYTES, CHUNK_ID_BYTES } from '../../../lib/base/limits.ts'
import { writeChunkId } from '../../../lib/chunk/ids.ts'
import { sealSegment } from '../../helpers/segment.ts'
import { Commit, type CommitMeta } from '../../../lib/parcel/commit.ts'
import { LogTable } from '../../../lib/parcel/log-table.ts'
import { FOUND, Verifier } from '../../../lib/parcel/verify.ts'
import { VolumeMap } from '../../../lib/parcel/volume-map.ts'
import { MemorySink } from '../../helpers/memory-sink.ts'
import { Random } from '../../helpers/random.ts'

const dedupKey = randomBytes(32)
const CHUNKS = 3000
const random = new Random()

test('whole versions are clean, and shared blocks are checked once', async (t) => {
  const { sink, ids } = await stored()
  const verifier = verify(sink)
  await verifier.version(
    { version: ids[0], log: sink.log, block: sink.blocks.length - 1 },
    () => {}
  )
  t.is(verifier.checked, sink.blocks.length, 'every block')
  t.is(verifier.bytes, sum(sink.blocks))
  await verifier.version(
    { version: ids[0], log: sink.log, block: sink.blocks.length - 1 },
    () => {}
  )
  t.is(verifier.checked, sink.blocks.length)
  t.alike([verifier.bad, verifier.missing], [[], 0])
})

test(
  'a flipped byte anywhere makes its block bad, and no other',
  { timeout: 60_000 },
  async (t) => {
    t.comment(`seed ${random.seed}`)
    const { sink, ids } = await stored()
    const last = sink.blocks.length - 1
    let wrong = 0
    const places = Array.from({ length: 300 }, () => random.int(0, last))
    for (const place of [...places, ...sink.blocks.keys()]) {
      const good = sink.blocks[place]
      const bad = Buffer.from(good)
      bad[random.int(0, bad.length - 1)] ^= 1 << random.int(0, 7)
      sink.blocks[place] = bad
      const verifier = verify(sink)
      const record = { version: ids[0], log: sink.log, block: last }
      const found = await verifier.version(record, () => {})
      const again = await verifier.version(record, () => {})
      if (found !== FOUND.BAD || again !== FOUND.BAD) wrong++
      if (verifier.bad.length !== 1 || verifier.bad[0].block !== place) wrong++
      sink.blocks[place] = good
    }
    t.is(wrong, 0)
  }
)

test('data that is sealed well but is not what its id says', async (t) => {
  const { sink, ids } = await stored()
  const data = randomBytes(16 * CHUNK_BYTES)
  sink.blocks[0] = sealSegment(data, sink.ids[0]!, sink.log, 0, sink.keys, 1)
  const verifier = verify(sink)
  await verifier.version(
    { version: ids[0], log: sink.log, block: sink.blocks.length - 1 },
    () => {}
  )
  t.alike(
    verifier.bad.map(({ block, why }) => [block, why]),
    [[0, 'a chunk is not the one that its id says']]
  )
})

test('segments that changed places do not open', async (t) => {
  const { sink, ids } = await stored()
  const [a, b] = sink.blocks
  sink.blocks[0] = b
  sink.blocks[1] = a
  const verifier = verify(sink)
  await verifier.version(
    { version: ids[0], log: sink.log, block: sink.blocks.length - 1 },
    () => {}
  )
  t.alike(
    verifier.bad.map(({ block }) => block),
    [0, 1]
  )
})

test('other chunks in the place of a segment are found by the content hash', async (t) => {
  const { sink, ids } = await stored()
  const data = randomBytes(16 * CHUNK_BYTES)
  const others = Buffer.alloc(16 * CHUNK_ID_BYTES)
  for (let i = 0; i < 16; i++) writeChunkId(others, i, data, i * CHUNK_BYTES, dedupKey)
  sink.blocks[0] = sealSegment(data, others, sink.log, 0, sink.keys, 1)
  const verifier = verify(sink)
  await verifier.version(
    { version: ids[0], log: sink.log, block: sink.blocks.length - 1 },
    () => {}
  )
  t.is(verifier.bad.length, 1)
  t.is(verifier.bad[0].why, 'a map leaf has another content hash')
})

test('what is not stored is missing, what cannot be read is bad', async (t) => {
  const { sink, ids } = await stored()
  const last = sink.blocks.length - 1
  const verifier = verify(sink, (block) =>
    block === 3 ? null : block === 5 ? 'unreadable' : undefined
  )
  const found = await verifier.version({ version: ids[0], log: sink.log, block: last }, () => {})
  t.is(found, FOUND.BAD | FOUND.MISSING)
  t.is(verifier.missing, 1)
  t.alike(
    verifier.bad.map(({ block }) => block),
    [5]
  )
  const empty = verify(sink, () => null)
  const none = await empty.version({ version: ids[0], log: sink.log, block: last }, () => {})
  t.is(none, FOUND.MISSING)
  t.alike([empty.checked, empty.missing, empty.bad], [0, 1, []])
})

test('another record than the one named', async (t) => {
  const { sink } = await stored()
  const verifier = verify(sink)
  await verifier.version(
    { version: randomBytes(32), log: sink.log, block: sink.blocks.length - 1 },
    () => {}
  )
  t.is(verifier.bad[0].block, sink.blocks.length - 1)
})

async function stored(): Promise<{ sink: MemorySink; ids: Buffer[] }> {
  const sink = new MemorySink()
  const commit = new Commit(sink.begin(), dedupKey, new LogTable())
  const volume = {
    name: 'disk0',
    sizeBytes: CHUNKS * CHUNK_BYTES,
    readOnly: false,
    base: new VolumeMap(CHUNKS, null, () => Promise.reject(new Error('nothing to load'))),
    changed: new Map()
  }
  for (const index of [0, 2]) {
    const places = Array.from({ length: 200 }, (_, i) => i * 2)
    await commit.addLeaf(volume, {
      index,
      places,
      data: randomBytes(places.length * CHUNK_BYTES),
      zeros: []
    })
  }
  const meta: CommitMeta = {
    parcel: Buffer.alloc(16, 1),
    number: 1,
    parent: null,
    lease: null,
    author: Buffer.alloc(32, 2),
    time: 1234,
    message: '',
    cause: 'create',
    machine: null
  }
  const { block, id } = await commit.finish(meta, [volume], [randomBytes(100_000)])
  sink.publish(block)
  return { sink, ids: [id] }
}

function verify(
  sink: MemorySink,
  instead: (block: number) => Buffer | 'unreadable' | null | undefined = () => undefined
): Verifier {
  const blocks = {
    read: (_log: Buffer, wanted: number[]) =>
      Promise.resolve(
        wanted.map((block) => {
          const other = instead(block)
          return other === undefined ? sink.blocks[block] : other
        })
      ),
    keysOf: () => Promise.resolve(sink.keys)
  }
  return new Verifier(blocks, dedupKey)
}

function sum(blocks: Buffer[]): number {
  return blocks.reduce((bytes, block) => bytes + block.byteLength, 0)
}
