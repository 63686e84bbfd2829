import test from 'brittle'
import { randomBytes } from 'node:crypto'
import * as fc from 'fast-check'
import type { HyperparcelError } from '../../../lib/base/errors.ts'
import { CHUNK_BYTES, MAP_LEAF_CHUNKS } from '../../../lib/base/limits.ts'
import { closureOf } from '../../../lib/parcel/closure.ts'
import { mapHeight } from '../../../lib/parcel/volume-map.ts'
import { MemoryParcel, type Changes, type VolumeChange } from '../../helpers/memory-parcel.ts'

const disk = (changes: Changes, sizeBytes = 4096 * CHUNK_BYTES): VolumeChange[] => [
  { name: 'disk0', sizeBytes, changes }
]
const same = (index: number) => Buffer.alloc(CHUNK_BYTES, `${index} `)

test('a version reads back chunk by chunk, over three map levels', async (t) => {
  const parcel = new MemoryParcel()
  const size = 300 * 1024 * MAP_LEAF_CHUNKS // 1.2 TiB: two inner levels
  const content: Changes = new Map()
  for (let i = 0; i < 3000; i++) content.set(i, randomBytes(CHUNK_BYTES))
  for (const far of [5_000_000, 100_000_000, size - 1]) content.set(far, randomBytes(CHUNK_BYTES))
  content.set(7, Buffer.alloc(CHUNK_BYTES))
  const state = [randomBytes(3_000_000)]
  const version = await parcel.commit(disk(content, size * CHUNK_BYTES), state)
  let wrong = 0
  for (const [chunk, data] of content) {
    if (!(await parcel.read(version, 'disk0', chunk)).equals(data!)) wrong++
  }
  t.is(wrong, 0)
  t.ok((await parcel.read(version, 'disk0', 4_000_000)).equals(Buffer.alloc(CHUNK_BYTES)))
  const pieces: Buffer[] = []
  for await (const piece of version.state()) pieces.push(piece)
  t.ok(Buffer.concat(pieces).equals(state[0]), 'device state')
  const closure = await closureOf(version)
  t.is(closure.count, parcel.store.blocks.length - 1, 'the closure is all but the record')
})

test('repeated and unchanged chunks are stored once', async (t) => {
  const parcel = new MemoryParcel()
  const content: Changes = new Map()
  for (let i = 0; i < 2500; i++) content.set(i, same(1))
  const first = await parcel.commit(disk(content))
  t.is(first.record.bytesNew, CHUNK_BYTES)
  const before = parcel.store.blocks.length
  const changed = randomBytes(CHUNK_BYTES)
  const changes: Changes = new Map([
    [10, changed],
    [11, same(1)]
  ])
  const second = await parcel.commit(disk(changes))
  t.is(second.record.bytesNew, CHUNK_BYTES)
  t.is(parcel.store.blocks.length - before, 3, 'one segment, one map block, one record')
  t.ok((await parcel.read(second, 'disk0', 12)).equals(same(1)), 'unchanged')
  t.ok((await parcel.read(second, 'disk0', 10)).equals(changed), 'changed')
  t.ok((await parcel.read(first, 'disk0', 10)).equals(same(1)), 'the first version is as it was')
  const before2 = parcel.store.blocks.length
  const third = await parcel.commit(disk(changes))
  t.is(parcel.store.blocks.length - before2, 1, 'the same once more: a record alone')
  t.alike(third.volume('disk0').root, second.volume('disk0').root)
})

test('chunks that recur before they are appended are stored once', async (t) => {
  const parcel = new MemoryParcel()
  const content: Changes = new Map()
  for (let i = 0; i < 4096; i++) content.set(i, same(i % 700))
  const version = await parcel.commit(disk(content))
  t.is(version.record.bytesNew, 700 * CHUNK_BYTES)
})

test('the content root depends on content, not on the way to it', async (t) => {
  const chunks = Array.from({ length: 40 }, () => randomBytes(CHUNK_BYTES))
  const all: Changes = new Map(chunks.map((data, i) => [i * 50, data]))
  const direct = new MemoryParcel()
  const parcel = new MemoryParcel()
  direct.dedupKey.copy(parcel.dedupKey)
  const once = await direct.commit(disk(all))
  const half: Changes = new Map([...all].slice(0, 20))
  half.set(50, randomBytes(CHUNK_BYTES))
  const one = await parcel.commit(disk(half))
  const rest: Changes = new Map([...all].slice(20))
  rest.set(50, all.get(50)!)
  const two = await parcel.commit(disk(rest))
  t.alike(two.volume('disk0').root!.hash, once.volume('disk0').root!.hash)
  t.unlike(one.volume('disk0').root!.hash, two.volume('disk0').root!.hash)
  const zeros: Changes = new Map([...all.keys()].map((i) => [i, Buffer.alloc(CHUNK_BYTES)]))
  const three = await parcel.commit(disk(zeros))
  t.is(three.volume('disk0').root, null, 'all zeros again')
})

test('maps have as many levels as their volume needs', async (t) => {
  const leaf = MAP_LEAF_CHUNKS
  t.alike(
    [1, leaf, leaf + 1, leaf * 256, leaf * 256 + 1, leaf * 65_536, leaf * 65_536 + 1, 2 ** 34].map(
      mapHeight
    ),
    [0, 0, 1, 1, 2, 2, 3, 3]
  )
  for (const chunks of [1, leaf, leaf * 256, leaf * 65_536, 2 ** 34]) {
    for (const sizeBytes of [
      chunks * CHUNK_BYTES,
      chunks * CHUNK_BYTES - 1,
      chunks * 4096 - 4095
    ]) {
      const parcel = new MemoryParcel()
      const [a, b] = [randomBytes(CHUNK_BYTES), randomBytes(CHUNK_BYTES)]
      const changes: Changes = new Map([
        [0, a],
        [chunks - 1, b]
      ])
      const version = await parcel.commit(disk(changes, sizeBytes))
      t.ok((await parcel.read(version, 'disk0', chunks - 1)).equals(b), `${sizeBytes} bytes`)
      const map = version.map('disk0')
      t.is(map.height, mapHeight(chunks))
      const leaves: number[] = []
      for await (const { index } of map.dataLeaves()) leaves.push(index)
      t.alike(leaves, [...new Set([0, Math.floor((chunks - 1) / leaf)])], 'only leaves with data')
      const last: Changes = new Map([
        [0, null],
        [chunks - 1, null]
      ])
      const empty = await parcel.commit(disk(last, sizeBytes))
      t.is(empty.volume('disk0').root, null)
    }
  }
})

/** What a commit does, for the model: chunks by value (0 is zeros), of one or more volumes. */
interface Step {
  disk0: [number, number][]
  memory: [number, number][]
  fresh: boolean
  retire: boolean
}

test('generations of several volumes are as in a model, with roots that know the content', async (t) => {
  const SIZES = { disk0: 2500 * CHUNK_BYTES - 77, memory: 1500 * CHUNK_BYTES }
  const writes = (max: number) =>
    fc.array(fc.tuple(fc.nat(max), fc.oneof(fc.nat(12), fc.constant(-1))), { maxLength: 60 })
  const step = fc.record({
    disk0: writes(2499),
    memory: writes(1499),
    fresh: fc.boolean(),
    retire: fc.boolean()
  })
  const roots = new Map<string, string>()
  const key = randomBytes(32)
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps: Step[]) => {
      const parcel = new MemoryParcel()
      key.copy(parcel.dedupKey)
      const model = { disk0: new Map<number, number>(), memory: new Map<number, number>() }
      let table: string[] = []
      for (const { fresh, retire, ...written } of steps) {
        if (retire) parcel.store.retire()
        if (fresh) model.memory.clear()
        const volumes = (['disk0', 'memory'] as const).map((name): VolumeChange => {
          const changes: Changes = new Map()
          for (const [chunk, value] of written[name]) {
            changes.set(chunk, value === -1 ? null : value === 0 ? Buffer.alloc(4096) : same(value))
            model[name].set(chunk, Math.max(0, value))
          }
          const isFresh = name === 'memory' && fresh
          return { name, sizeBytes: SIZES[name], changes, fresh: isFresh }
        })
        const version = await parcel.commit(volumes)
        const names = version.record.logs.map((log) => log.key.toString('hex'))
        if (table.some((name, i) => names[i] !== name)) return false // numbers kept their meaning
        table = names
        for (const name of ['disk0', 'memory'] as const) {
          for (const [chunk, value] of model[name]) {
            const want = value === 0 ? Buffer.alloc(CHUNK_BYTES) : same(value)
            if (!(await parcel.read(version, name, chunk)).equals(want)) return false
          }
          const content = [...model[name]]
            .filter(([, value]) => value !== 0)
            .sort(([a], [b]) => a - b)
          const root = version.volume(name).root?.hash.toString('hex') ?? 'zero'
          const known = JSON.stringify([name, content])
          if ((roots.get(known) ?? root) !== root) return false
          roots.set(known, root)
        }
      }
      return true
    }),
    { numRuns: 40 }
  )
  const distinct = new Set(
    [...roots].map(([known, root]) => (known.endsWith('[]]') ? 'zero' : root))
  )
  const contents = [...roots.keys()].filter((known) => !known.endsWith('[]]'))
  // Volumes of one content but two sizes have two heights: their roots differ or are the leaf's own.
  t.ok(distinct.size >= new Set(contents.map((known) => known.slice(known.indexOf(',')))).size)
})

test('a sink that fails anywhere fails the commit alone', async (t) => {
  const content: Changes = new Map()
  for (let i = 0; i < 4000; i++) content.set(i, randomBytes(CHUNK_BYTES))
  const state = [randomBytes(9_000_000)]
  const whole = new MemoryParcel()
  let appends = 0
  whole.store.onappend = () => void appends++
  await whole.commit(disk(content), state)
  t.ok(appends > 8, `${appends} appends`)
  for (let failing = 1; failing <= appends; failing++) {
    const parcel = new MemoryParcel()
    let count = 0
    parcel.store.onappend = async () => {
      await new Promise((resolve) => setTimeout(resolve, 1))
      if (++count === failing) throw new Error(`append ${failing} fails`)
    }
    await t.exception(parcel.commit(disk(content), state), new RegExp(`append ${failing} fails`))
    await new Promise((resolve) => setTimeout(resolve, 10))
    t.is(count, failing, 'nothing is appended after it')
    t.is(parcel.logs.size, 0, 'the table of logs is as it was')
    const stored = parcel.store.blocks.length
    const version = await parcel.commit(disk(content), state)
    for (const chunk of [0, 1500, 3999]) {
      t.ok((await parcel.read(version, 'disk0', chunk)).equals(content.get(chunk)!))
    }
    const segments = parcel.store.blocks.length - stored
    t.ok(segments <= Math.max(0, 250 - stored) + 12, `found again: ${segments} after ${stored}`)
    t.is(version.record.bytesNew, 4000 * CHUNK_BYTES, 'no version had it')
  }
})

test('a leaf that cannot be read fails the commit when the others have ended', async (t) => {
  const { commitFrozen } = await import('../../../lib/runner/frozen-commit.ts')
  let reading = 0
  const commit = { lanes: 2, addLeaf: () => new Promise((resolve) => setTimeout(resolve, 5)) }
  const frozen = {
    dirtyBytes: 0,
    runs: () => Array.from({ length: 10 }, (_, i) => ({ first: i * 1024, count: 1, zero: false })),
    read: async (first: number) => {
      reading++
      await new Promise((resolve) => setTimeout(resolve, first === 1024 ? 1 : 30))
      reading--
      if (first === 1024) throw new Error('bad slot')
    }
  }
  const run = commitFrozen(commit as never, {} as never, frozen, () => {})
  await t.exception(run, /bad slot/)
  t.is(reading, 0)
})

test('an append of an earlier commit cannot slip into the next one', async (t) => {
  const parcel = new MemoryParcel()
  let release: () => void = () => {}
  const held = new Promise<void>((resolve) => (release = resolve))
  parcel.store.onappend = () => held
  const content: Changes = new Map()
  for (let i = 0; i < 1024; i++) content.set(i, randomBytes(CHUNK_BYTES))
  const first = parcel.commit(disk(content)).then(
    () => 'made',
    (err: HyperparcelError) => err.code
  )
  await new Promise((resolve) => setTimeout(resolve, 30))
  parcel.store.onappend = () => {}
  const other: Changes = new Map([[5, same(5)]])
  const version = await parcel.commit(disk(other))
  release()
  t.is(await first, 'COMMIT_STALE')
  t.ok((await parcel.read(version, 'disk0', 5)).equals(same(5)))
})

test('a map that names a chunk which its segment lacks is found out', async (t) => {
  const parcel = new MemoryParcel()
  const base: Changes = new Map([
    [0, same(1)],
    [1, same(2)]
  ])
  await parcel.commit(disk(base))
  const [ids] = parcel.store.ids
  parcel.store.ids[0] = ids!.subarray(0, 32)
  await t.exception(parcel.commit(disk(new Map([[9, same(3)]]))), /its segment lacks/)
})
