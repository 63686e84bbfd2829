import test from 'brittle'
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import type { HyperparcelError } from '../../../lib/base/errors.ts'
import { CHUNK_BYTES, MAP_LEAF_CHUNKS } from '../../../lib/base/limits.ts'
import { Commit, type VolumeCommit } from '../../../lib/parcel/commit.ts'
import { LogTable } from '../../../lib/parcel/log-table.ts'
import { VersionReader, openVersion } from '../../../lib/parcel/version-reader.ts'
import { VolumeMap } from '../../../lib/parcel/volume-map.ts'
import { commitFrozen } from '../../../lib/runner/frozen-commit.ts'
import type { VolumeBase } from '../../../lib/volume/base.ts'
import { ZeroBase } from '../../../lib/volume/base.ts'
import { MapBase } from '../../../lib/volume/map-base.ts'
import { NearPrefetch } from '../../../lib/volume/near-prefetch.ts'
import { Overlay } from '../../../lib/volume/overlay.ts'
import { SegmentCache } from '../../../lib/volume/segment-cache.ts'
import { Volume, type Frozen } from '../../../lib/volume/volume.ts'
import { Random } from '../../helpers/random.ts'
import { MemorySink } from '../../helpers/memory-sink.ts'
import { SEAL } from './model.ts'

const CHUNKS = 3 * MAP_LEAF_CHUNKS + 100
const SIZE = CHUNKS * CHUNK_BYTES - 1024
const dedupKey = randomBytes(32)

/** A store of versions in memory, with a count of what is asked of it. */
class Store {
  readonly sink = new MemorySink()
  readonly logs = new LogTable([this.sink.log])
  readonly requests: number[][] = []
  readonly corrupt: number[] = []
  cache = new SegmentCache()
  /** Peers need not be asked. */
  local = true
  /** Holds answers back until it resolves. */
  gate: Promise<void> = Promise.resolve()
  version: VersionReader | null = null
  #number = 0

  async commit(frozen: Frozen): Promise<VersionReader> {
    const { sink, logs } = this
    const commit = new Commit(sink.begin(), dedupKey, logs)
    const nothing = () => Promise.reject(new Error('nothing to load'))
    const volume: VolumeCommit = {
      name: 'disk0',
      sizeBytes: SIZE,
      readOnly: false,
      base: this.version?.map('disk0') ?? new VolumeMap(CHUNKS, null, nothing),
      changed: new Map()
    }
    await commitFrozen(commit, volume, frozen, () => {})
    const meta = {
      parcel: Buffer.alloc(16, 1),
      number: ++this.#number,
      parent: null,
      lease: null,
      author: Buffer.alloc(32, 2),
      time: 1,
      message: '',
      cause: 'create' as const,
      machine: null
    }
    const { block, id, at } = await commit.finish(meta, [volume], null)
    sink.publish(block)
    const record = openVersion(block, sink.log, at, sink.keys.meta, id)
    this.version = new VersionReader(record, sink.reader(logs), () => sink.keys.meta)
    return this.version
  }

  base(version: VersionReader, near?: NearPrefetch): MapBase {
    const reader = this.sink.reader(this.logs)
    return new MapBase({
      sizeBytes: SIZE,
      map: version.map('disk0'),
      reader: {
        read: async (log, blocks, onmissing) => {
          this.requests.push(blocks)
          if (!this.local) onmissing?.()
          await this.gate
          return reader.read(log, blocks)
        }
      },
      logKey: (number) => this.logs.keyOf(number),
      dataKey: () => this.sink.keys.data,
      cache: this.cache,
      ...(near === undefined ? {} : { near }),
      onCorrupt: (_log, block) => this.corrupt.push(block)
    })
  }
}

async function blank(directory: string, name = 'disk0') {
  const overlay = await Overlay.create(path.join(directory, name), {
    volume: 0,
    name: 'disk0',
    sizeBytes: SIZE,
    baseId: '',
    ...SEAL
  })
  return new Volume(new ZeroBase(SIZE), overlay)
}

/** A store with one version: data in the first two leaves, zeros behind, one chunk at the end. */
async function filled(directory: string) {
  const store = new Store()
  const content = Buffer.alloc(SIZE)
  randomBytes(1500 * CHUNK_BYTES).copy(content)
  content.fill(0, 100 * CHUNK_BYTES, 120 * CHUNK_BYTES)
  content[SIZE - 1] = 7
  const volume = await blank(directory)
  await volume.pwrite(content, 0, false)
  const version = await store.commit(volume.freeze())
  await volume.close()
  return { store, version, content }
}

async function readAll(base: VolumeBase, first: number, count: number): Promise<Buffer> {
  const target = Buffer.alloc(count * CHUNK_BYTES, 0xdd)
  await base.read(first, count, target)
  return target
}

test('map base: a version reads back, from memory at once', async (t) => {
  const { store, version, content } = await filled(await t.tmp())
  const base = store.base(version)
  t.alike(base.run(0, 50), { count: 50, zero: false }, 'unknown is data')
  const all = await readAll(base, 0, CHUNKS)
  t.ok(all.subarray(0, SIZE).equals(content))
  const requests = store.requests.length
  t.ok(requests <= 3, `${requests} requests: leaf by leaf, 64 segments at once`)
  t.is(base.read(0, 200, Buffer.alloc(200 * CHUNK_BYTES)), undefined, 'no promise the second time')
  t.alike(base.run(0, CHUNKS), { count: 100, zero: false })
  t.alike(base.run(100, CHUNKS), { count: 20, zero: true })
  t.alike(base.run(1500, CHUNKS), { count: CHUNKS - 1501, zero: true }, 'across leaves')
  t.is(store.requests.length, requests)
})

test('map base: concurrent reads of one segment share a fetch', async (t) => {
  const { store, version, content } = await filled(await t.tmp())
  const base = store.base(version)
  const { blocks } = await version.map('disk0').loadLeaf(0)
  const segments = new Set(blocks.slice(0, 16)).size
  let open = () => {}
  store.gate = new Promise((resolve) => (open = resolve))
  const reads = Array.from({ length: 16 }, (_, i) => readAll(base, 15 - i, 1))
  await new Promise((resolve) => setImmediate(resolve))
  t.is(store.requests.length, segments)
  open()
  const chunks = await Promise.all(reads)
  t.ok(Buffer.concat(chunks.reverse()).equals(content.subarray(0, 16 * CHUNK_BYTES)))
  t.is(store.requests.flat().length, segments, 'nothing twice')
})

test('map base: one request for all that a read misses, and reading ahead of a stream', async (t) => {
  const { store, version } = await filled(await t.tmp())
  const base = store.base(version)
  await version.map('disk0').loadLeaf(0)
  await readAll(base, 500, 64)
  t.is(store.requests.length, 1)
  t.ok(store.requests[0].length >= 4 && store.requests[0].length <= 5)
  const before = store.requests.length
  for (let chunk = 200; chunk < 456; chunk += 8) await readAll(base, chunk, 8)
  const waited = store.requests.length - before
  t.ok(waited <= 6, `${waited} requests for 32 sequential reads`)
  const requested = store.requests.flat()
  t.is(new Set(requested).size, requested.length, 'nothing twice')
})

test('map base: what peers have to be asked for brings its neighbours', async (t) => {
  const { store, version } = await filled(await t.tmp())
  const ahead: number[] = []
  const near = new NearPrefetch({
    fetch: (_log, blocks) => {
      ahead.push(...blocks)
      return Promise.resolve(blocks.length)
    }
  })
  const base = store.base(version, near)
  const { blocks } = await version.map('disk0').loadLeaf(0)
  await readAll(base, 300, 1)
  t.alike(ahead, [], 'not while it is stored here')
  store.local = false
  await readAll(base, 600, 1)
  await new Promise((resolve) => setTimeout(resolve, 10))
  t.absent(ahead.includes(blocks[600]), 'not what is read itself')
  t.ok(ahead.includes(blocks[600 + 20]) && ahead.includes(blocks[600 - 20]))
  t.ok(ahead.length < 20)
})

test('map base: the cache keeps to its limit', async (t) => {
  const { store, version, content } = await filled(await t.tmp())
  store.cache = new SegmentCache(10 * 64 * 1024)
  const base = store.base(version)
  const rnd = new Random(5)
  for (let i = 0; i < 300; i++) {
    const first = Math.floor(rnd.next() * 1400)
    const count = 1 + Math.floor(rnd.next() * 100)
    const expected = content.subarray(first * CHUNK_BYTES, (first + count) * CHUNK_BYTES)
    if (!(await readAll(base, first, count)).equals(expected)) return t.fail(`round ${i}`)
    if (store.cache.bytes > 10 * 64 * 1024) return t.fail(`${store.cache.bytes} bytes cached`)
  }
  t.pass()
})

test('map base: a block that does not verify is an error, never data', async (t) => {
  const { store, version, content } = await filled(await t.tmp())
  await version.map('disk0').loadLeaf(0)
  const place = (await version.map('disk0').loadLeaf(0)).blocks[5]
  const good = store.sink.blocks[place]
  for (const at of [2, 9, 20, good.byteLength - 3000, good.byteLength - 1]) {
    store.cache = new SegmentCache()
    const bad = Buffer.from(good)
    bad[at] ^= 1
    store.sink.blocks[place] = bad
    const base = store.base(version)
    const target = Buffer.alloc(CHUNK_BYTES, 0xdd)
    try {
      await base.read(5, 1, target)
      t.fail(`byte ${at}`)
    } catch (err) {
      const { code } = err as HyperparcelError
      t.ok(
        code === 'DATA_CORRUPT' || (at === 2 && code === 'FORMAT_TOO_NEW'),
        `byte ${at}: ${code}`
      )
    }
    t.ok(target.equals(Buffer.alloc(CHUNK_BYTES, 0xdd)), 'the target is untouched')
    store.sink.blocks[place] = good
    t.ok((await readAll(base, 5, 1)).equals(content.subarray(5 * CHUNK_BYTES, 6 * CHUNK_BYTES)))
  }
  t.ok(store.corrupt.includes(place), 'somebody may fetch a good copy')
})

test('map base: versions follow each other under a volume that is written to', async (t) => {
  const directory = await t.tmp()
  const store = new Store()
  const rnd = new Random(21)
  const volume = await blank(directory)
  const expected = Buffer.alloc(SIZE)
  const chunks = Math.floor(SIZE / CHUNK_BYTES)
  for (let round = 0; round < 6; round++) {
    for (let i = 0; i < 60; i++) {
      const first = Math.floor(rnd.next() * chunks)
      const count = Math.min(chunks - first, 1 + Math.floor(rnd.next() * 40))
      const offset = first * CHUNK_BYTES
      if (rnd.next() < 0.3) {
        await volume.trim(offset, count * CHUNK_BYTES, false)
        expected.fill(0, offset, offset + count * CHUNK_BYTES)
      } else {
        const data = randomBytes(count * CHUNK_BYTES)
        await volume.pwrite(data, offset, false)
        data.copy(expected, offset)
      }
      if (i === 30 && round > 0) {
        const frozen = volume.freeze()
        const committing = store.commit(frozen)
        const late = randomBytes(CHUNK_BYTES)
        await volume.pwrite(late, 7 * CHUNK_BYTES, false)
        late.copy(expected, 7 * CHUNK_BYTES)
        await frozen.release(store.base(await committing), `v${round}`)
      }
    }
    const all = Buffer.alloc(SIZE)
    await volume.pread(all, 0)
    t.ok(all.equals(expected), `round ${round}`)
  }
  await volume.close()
  const reopened = await Overlay.open(path.join(directory, 'disk0'), SEAL)
  t.is(reopened.baseId, 'v5')
  const again = new Volume(store.base(store.version!), reopened)
  const all = Buffer.alloc(SIZE)
  await again.pread(all, 0)
  t.ok(all.equals(expected), 'after reopening')
  await again.close()
})
