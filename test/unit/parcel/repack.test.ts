/** Segments that are mostly dead are packed anew: the same content in other places, and what was shared stays shared. */
import test from 'brittle'
import { encodeReissuedMap } from '../../../lib/format/reissued-map.ts'
import { inlineWork } from '../../../lib/parcel/chunk-work.ts'
import { withReissuedMap } from '../../../lib/parcel/reissued-version.ts'
import { reissueVersions } from '../../../lib/parcel/reissue-versions.ts'
import { repack } from '../../../lib/parcel/repack.ts'
import type { VersionReader } from '../../../lib/parcel/version-reader.ts'
import { Model, type Parcel } from '../../helpers/version-model.ts'

/** Version 1 is new all over, version 2 all but every eighth chunk; some more change a few chunks. */
async function sparse(): Promise<{ model: Model; parcel: Parcel }> {
  const model = new Model()
  const [parcel] = model.parcels
  await model.write(parcel, [{ first: 0, count: 2400, value: 99 }])
  const runs = Array.from({ length: 300 }, (_, i) => ({ first: i * 8, count: 7, value: 99 }))
  await model.write(parcel, runs)
  for (const first of [1, 1100, 2200]) await model.write(parcel, [{ first, count: 1, value: 99 }])
  return { model, parcel }
}

test('what is needed is packed, nodes that versions share are written once', async (t) => {
  const { model, parcel } = await sparse()
  await model.prune(parcel, 4)
  const readers = () => parcel.versions.slice(-4).map(({ reader }) => reader)
  const before = await nodesOf(readers())
  const segments = await model.repack(parcel)
  t.is(segments, 150, 'of version 1, two chunks of each segment are left')
  t.is(model.store.of(parcel.packLog!).ids.filter((ids) => ids !== null).length, 19)
  const after = await nodesOf(readers())
  t.is(after.size, before.size, 'as many nodes as before')
  await model.prune(parcel, 4)
  await model.check(parcel)
  const old = model.store.of(parcel.logs[0]).blocks
  t.ok(Object.keys(old).every((block) => Number(block) >= 150 || old[Number(block)] === undefined))
  t.is(await model.repack(parcel), 0, 'once is enough')

  // The map goes on from where it was moved to, also through a table of logs that another device made longer.
  model.retire(parcel)
  const runs = Array.from({ length: 200 }, (_, i) => ({ first: 12 * i + 3, count: 9, value: 99 }))
  await model.write(parcel, runs)
  await model.prune(parcel, 1)
  t.ok((await model.repack(parcel)) > 10, 'what was packed is packed again')
  await model.prune(parcel, 1)
  await model.check(parcel)
})

test('a damaged or missing segment stays, and so do the maps above it', async (t) => {
  const { model, parcel } = await sparse()
  await model.prune(parcel, 4)
  const { blocks } = model.store.of(parcel.logs[0])
  const good = [blocks[3], blocks[5]]
  blocks[3] = Buffer.from(good[0])
  blocks[3][good[0].byteLength - 20] ^= 1
  Reflect.deleteProperty(blocks, 5)
  t.is(await model.repack(parcel), 150)
  ;[blocks[3], blocks[5]] = good
  await model.prune(parcel, 4)
  await model.check(parcel)
  t.alike(
    Object.keys(blocks)
      .map(Number)
      .filter((block) => block < 150),
    [3, 5],
    'their chunks were not moved'
  )
})

test('chunks that are not what their ids say are not moved', async (t) => {
  const { model, parcel } = await sparse()
  await model.prune(parcel, 4)
  const places = parcel.versions.slice(-4).map(({ reader }) => parcel.parcel.places.get(reader)!)
  const segments = await model.mostlyDead(places, parcel.logs)
  model.store.retire()
  const sink = model.store.begin()
  const wrongKey = Buffer.alloc(32, 1)
  const { moved } = await repack(segments, model.stored, sink, wrongKey, inlineWork, () => {})
  t.alike([segments.length, moved.segments, moved.count], [150, 0, 0])
})

test('a map is written anew only when what lies at the new places is what it named', async (t) => {
  const { model, parcel } = await sparse()
  await model.prune(parcel, 4)
  const places = parcel.versions.slice(-4).map(({ reader }) => parcel.parcel.places.get(reader)!)
  const segments = await model.mostlyDead(places, parcel.logs)
  model.store.retire()
  const sink = model.store.begin()
  const { dedupKey } = parcel.parcel
  const packed = await repack(segments, model.stored, sink, dedupKey, inlineWork, () => {})
  const { ids } = model.store
  ;[ids[0], ids[1]] = [ids[1], ids[0]]
  const reissued = reissueVersions(places, packed, model.source, sink, () => {})
  await t.exception(reissued, { code: 'DATA_CORRUPT' })
})

test('a reissued map counts only for its version and content', async (t) => {
  const { parcel } = await sparse()
  const [{ reader }] = parcel.versions
  const { record } = reader
  const { version } = parcel.parcel.places.get(reader)!
  const [{ name, root }] = record.volumes
  const map = { version, logs: record.logs, volumes: [{ name, root }] }
  const read = (changes: Partial<typeof map>) =>
    withReissuedMap(record, version, encodeReissuedMap({ ...map, ...changes }))
  t.alike(read({}), record)
  const other = Buffer.alloc(32, 1)
  const extra = { key: other, length: 1, treeHash: other }
  t.is(read({ logs: [...record.logs, extra] }).logs.length, record.logs.length + 1)
  const wrong: [string, Partial<typeof map>][] = [
    ['another version', { version: other }],
    ['another content root', { volumes: [{ name, root: { ...root!, hash: other } }] }],
    ['no content', { volumes: [{ name, root: null }] }],
    ['another volume', { volumes: [{ name: 'disk1', root }] }],
    [
      'more volumes',
      {
        volumes: [
          { name, root },
          { name: 'disk1', root }
        ]
      }
    ],
    ['a log that is not there', { volumes: [{ name, root: { ...root!, log: 1 } }] }],
    ['another table of logs', { logs: [extra, ...record.logs] }],
    ['a log twice', { logs: [...record.logs, record.logs[0]] }],
    ['no logs', { logs: [] }]
  ]
  for (const [what, changes] of wrong) {
    await t.exception(() => read(changes), { code: 'DATA_CORRUPT' }, what)
  }
})

/** Distinct nodes of all their maps, by log and place. */
async function nodesOf(readers: VersionReader[]): Promise<Set<string>> {
  const nodes = new Set<string>()
  for (const reader of readers) {
    for await (const { log, block, slot } of reader.map('disk0').nodeRefs()) {
      nodes.add(`${reader.record.logs[log].key.toString('hex')}/${block}/${slot}`)
    }
  }
  return nodes
}
