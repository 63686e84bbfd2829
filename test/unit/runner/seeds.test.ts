/** Indexes of seeds, what is found by them, and what is used of it. */
import { mkdir, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import fs from 'node:fs'
import path from 'node:path'
import test from 'brittle'
import { CHUNK_BYTES, CHUNK_ID_BYTES } from '../../../lib/base/limits.ts'
import { writeChunkId } from '../../../lib/chunk/ids.ts'
import type { Host } from '../../../lib/runner/host.ts'
import { buildSeed } from '../../../lib/runner/seeds/seed-build.ts'
import { SeedEntries, SeedIndex, writeSeedIndex } from '../../../lib/runner/seeds/seed-index.ts'
import { SeedReader } from '../../../lib/runner/seeds/seed-reader.ts'
import { Seeds } from '../../../lib/runner/seeds/seeds.ts'
import { channelPair } from '../../helpers/channels.ts'
import { Random } from '../../helpers/random.ts'

const KEY = Buffer.alloc(32, 7)
const CHUNKS = 5000
const LOG = Buffer.alloc(32, 3)
const nobody = () => {}

test('an index finds what was put into it, and little else', async (t) => {
  const random = new Random()
  const index = path.join(await t.tmp(), 'index')
  const entries = new SeedEntries()
  const ids = random.bytes(CHUNKS * CHUNK_ID_BYTES)
  for (let i = 0; i < CHUNKS; i++) entries.add(ids, i * CHUNK_ID_BYTES, i)
  entries.add(ids, 0, 999_999) // a second time
  writeSeedIndex(index, { root: '/', files: [], bytes: 1, whole: true }, entries)
  const found = SeedIndex.open(index)
  const numbers = Array.from({ length: CHUNKS }, (_, i) => found.find(ids, i * CHUNK_ID_BYTES))
  t.ok(
    numbers.every((number, i) => number === i),
    `seed ${random.seed}`
  )
  const others = random.bytes(CHUNKS * CHUNK_ID_BYTES)
  const wrong = numbers.filter((_, i) => found.find(others, i * CHUNK_ID_BYTES) >= 0).length
  t.ok(wrong < 3, `${wrong} found by chance`)
  found.close()

  for (const size of [0, 7, 24, 100, (await stat(index)).size - 8]) {
    await truncate(index, size)
    await t.exception(() => SeedIndex.open(index), /no index/)
  }
  const [damaged] = new SeedReader([index]).find(ids.subarray(0, 32)) ?? [null]
  t.is(damaged, null, 'a damaged one has nothing')
})

test('chunks of an image and of a directory are found and read', async (t) => {
  const random = new Random()
  const directory = await t.tmp()
  const root = path.join(directory, 'files')
  await mkdir(path.join(root, 'below'), { recursive: true })
  const first = random.bytes(3 * CHUNK_BYTES)
  const second = random.bytes(CHUNK_BYTES + 100) // ends within a chunk
  await writeFile(path.join(root, 'first'), first)
  await writeFile(path.join(root, 'below', 'second'), second)
  await fs.promises.symlink('/etc', path.join(root, 'link'))
  const index = path.join(directory, 'index')
  const built = await buildSeed(root, index, KEY, nobody)
  t.alike([built.files, built.chunks, built.reused], [2, 5, false])
  t.is((await buildSeed(root, index, KEY, nobody)).reused, true, 'once is enough')

  const padded = Buffer.alloc(2 * CHUNK_BYTES)
  second.copy(padded)
  const wanted = Buffer.concat([padded, first])
  const reader = new SeedReader([path.join(directory, 'no-index'), index])
  t.teardown(() => reader.close())
  const read = Buffer.alloc(wanted.byteLength)
  const places = reader.find(idsOf(wanted))
  t.ok(places !== null && (await reader.read(places, read)))
  t.alike(read, wanted)
  t.is(reader.find(idsOf(random.bytes(CHUNK_BYTES))), null)

  await writeFile(path.join(root, 'first'), random.bytes(3 * CHUNK_BYTES + 1))
  t.absent(await reader.read(places!, read), 'a file that changed is not read')
  t.is((await buildSeed(root, index, KEY, nobody)).reused, false, 'and indexed anew')
  await rm(root, { recursive: true })
  t.absent(await new SeedReader([index]).read(places!, read), 'nor one that is gone')
})

test('only what has the right id is used', { timeout: 60_000 }, async (t) => {
  const random = new Random()
  const directory = await t.tmp()
  const image = path.join(directory, 'image')
  const data = random.bytes(4 * CHUNK_BYTES)
  const [good, bad] = [data.subarray(0, 2 * CHUNK_BYTES), data.subarray(2 * CHUNK_BYTES)]
  const time = new Date(1_700_000_000_000)
  await writeFile(image, data)
  await utimes(image, time, time)
  const index = path.join(directory, 'index')
  await buildSeed(image, index, KEY, nobody)
  const handle = await fs.promises.open(image, 'r+')
  await handle.write(Buffer.from([bad[5] ^ 1]), 0, 1, 2 * CHUNK_BYTES + 5)
  await handle.close()
  await utimes(image, time, time) // nothing shows that it changed

  const told: unknown[] = []
  const chunks = [2, 0, 2]
  const host = {
    attached: true,
    call: async (method: string, params: unknown) => {
      if (method === 'seeds.used') told.push(params)
      return { json: { chunks }, attachment: Buffer.concat([idsOf(good), idsOf(bad)]) }
    }
  } as unknown as Host
  const seeds = new Seeds({ host, dedupKey: KEY, logKey: () => LOG })
  t.teardown(() => seeds.close())
  t.absent(seeds.active, 'none')
  seeds.use([{ path: image, index }])
  t.ok(seeds.active)
  const used = new Map<number, Buffer>()
  await seeds.find(0, [10, 11, 12], (i, segment) => used.set(i, Buffer.from(segment)))
  t.alike([...used.keys()], [0])
  t.alike(used.get(0), good)
  t.alike(told, [[{ path: image, segments: 1, bytes: good.byteLength }]])
})

test('a seed that hangs costs seconds once', { timeout: 60_000 }, async (t) => {
  const { near } = await channelPair(t, {}, { open: () => null, read: () => new Promise(() => {}) })
  const host = {
    attached: true,
    call: async () => ({ json: { chunks: [1] }, attachment: Buffer.alloc(32) })
  } as unknown as Host
  const child = { kill: () => true }
  const start = () => ({ channel: near, child }) as never
  const seeds = new Seeds({ host, dedupKey: KEY, logKey: () => LOG, start })
  seeds.use([{ path: '/hangs', index: '/nothing' }])
  await seeds.find(0, [1], () => t.fail('nothing was read'))
  t.absent(seeds.active, 'left alone for a while')
})

function idsOf(data: Buffer): Buffer {
  const count = data.byteLength / CHUNK_BYTES
  const ids = Buffer.alloc(count * CHUNK_ID_BYTES)
  for (let i = 0; i < count; i++) writeChunkId(ids, i, data, i * CHUNK_BYTES, KEY)
  return ids
}
