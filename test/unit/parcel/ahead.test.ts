import test from 'brittle'
import { randomBytes } from 'node:crypto'
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'
import { Ahead } from '../../../lib/parcel/ahead.ts'
import { inlineWork } from '../../../lib/parcel/chunk-work.ts'
import { MemoryParcel, type Changes, type VolumeChange } from '../../helpers/memory-parcel.ts'

const disk = (changes: Changes): VolumeChange[] => [
  { name: 'disk0', sizeBytes: 4096 * CHUNK_BYTES, changes }
]

function contentOf(chunks: Buffer[]): Changes {
  return new Map(chunks.map((data, i) => [i * 3, data]))
}

test('ahead: a commit finds what was stored, and counts it as new once', async (t) => {
  const parcel = new MemoryParcel()
  const { store, dedupKey } = parcel
  const old = Array.from({ length: 40 }, () => randomBytes(CHUNK_BYTES))
  await parcel.commit(disk(contentOf(old)))

  const chunks = Array.from({ length: 600 }, () => randomBytes(CHUNK_BYTES))
  const ahead = new Ahead(store.begin(), dedupKey, inlineWork)
  const zero = Buffer.alloc(CHUNK_BYTES)
  const before = store.blocks.length
  let buffer = Buffer.concat([...chunks.slice(0, 300), zero, ...old, ...chunks.slice(0, 20)])
  buffer = (await ahead.add(buffer, 361)) as typeof buffer
  t.is(ahead.bytesNew, 300 * CHUNK_BYTES, 'nothing that is stored, zero, or there already')
  Buffer.concat(chunks.slice(300, 400)).copy(buffer)
  await ahead.add(buffer, 100)
  await ahead.finish()
  t.is(store.blocks.length - before, 25, 'segments only')
  t.ok(ahead.bytesStored > 400 * CHUNK_BYTES)

  const changes = contentOf(chunks)
  for (let i = 0; i < 50; i++) changes.set(3000 + i, chunks[i])
  const version = await parcel.commit(disk(changes))
  t.is(version.record.bytesNew, 600 * CHUNK_BYTES)
  t.is(store.blocks.length - before, 25 + 13 + 2, 'what was not stored, a map, a record')
  let wrong = 0
  for (const [chunk, data] of changes) {
    if (!(await parcel.read(version, 'disk0', chunk)).equals(data!)) wrong++
  }
  t.is(wrong, 0)
  const again = await parcel.commit(disk(changes))
  t.is(again.record.bytesNew, 0, 'a version has it')
})

test('ahead: a commit that begins ends it', async (t) => {
  const parcel = new MemoryParcel()
  const ahead = new Ahead(parcel.store.begin(), parcel.dedupKey, inlineWork)
  const version = await parcel.commit(disk(contentOf([randomBytes(CHUNK_BYTES)])))
  const refused = async () => {
    await ahead.add(randomBytes(20 * CHUNK_BYTES), 20)
    await ahead.finish()
  }
  await t.exception(refused(), /Another commit began/)
  t.is(parcel.version, version)
})
