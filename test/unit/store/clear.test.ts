/** Cleared blocks: the tree over them stays, their space comes back, the dedup index knows them no more. */
import path from 'node:path'
import test from 'brittle'
import { DedupIndex } from '../../../lib/store/dedup-index.ts'
import type { StoredLog } from '../../../lib/store/log.ts'
import { reclaim, type Tables } from '../../../lib/store/reclaim.ts'
import { blocks, transfer } from '../../conformance/log-store.ts'
import { tool } from '../../helpers/images.ts'
import { Random } from '../../helpers/random.ts'
import { createLogStore } from '../../helpers/stores.ts'

test('a peer of any former length gets the newest one, whatever was cleared', async (t) => {
  const random = new Random()
  t.comment(`seed ${random.seed}`)
  const LENGTH = 15
  for (let round = 0; round < 3; round++) {
    const source = await createLogStore(t)
    const log = await source.current('parcel:a')
    const peers: StoredLog[] = []
    for (let length = 1; length < LENGTH; length++) {
      await log.append(blocks(length - 1, 1))
      await source.flush()
      const peer = await (await createLogStore(t)).open(log.key)
      t.ok(await peer.apply((await log.proveLength(0, length))!))
      peers.push(peer)
    }
    await log.append(blocks(LENGTH - 1, 1))
    await source.flush()
    const kept = round === 0 ? 10 : random.int(0, LENGTH - 1)
    await log.clear(kept + 1, LENGTH)
    for (let from = 0; from < kept;) {
      const end = round === 0 ? from + 1 : random.int(from + 1, kept)
      await log.clear(from, end)
      from = end
    }
    let grown = 0
    for (const peer of peers) {
      const proof = await log.proveLength(peer.length, LENGTH)
      if (proof !== null && (await peer.apply(proof))) grown++
    }
    t.is(grown, peers.length, `all but block ${kept} cleared`)
    await transfer(log, peers[random.int(0, peers.length - 1)], kept)
  }
})

test('the disk gets the space of cleared blocks back, in steps', async (t) => {
  const random = new Random()
  const directory = await t.tmp()
  const store = await createLogStore(t, directory)
  const log = await store.current('parcel:a')
  const PIECE = 60_000
  for (let i = 0; i < 8; i++) {
    await log.append(Array.from({ length: 100 }, () => random.bytes(PIECE)))
    await store.flush()
  }
  const before = await diskUsage(directory)
  for (let i = 0; i < 800; i += 100)
    for (let j = 0; j < 90; j += 9) await log.clear(i + j, i + j + 6)
  await store.flush()
  const steps: number[] = []
  t.is(await store.compact({ onstep: (bytes) => steps.push(bytes) }), 0)
  const freed = before - (await diskUsage(directory))
  t.ok(
    freed > 480 * PIECE - 5 * 1024 ** 2,
    `${freed} of ${480 * PIECE} bytes in ${steps.length} steps`
  )
  t.ok(steps.length > 3)
  t.is((await log.read(99))?.byteLength, PIECE)
  t.is(await log.read(0), null)
})

test('with too little room it moves less at once, or nothing', async (t) => {
  const moved: number[] = []
  const tables = (files: number): Tables => {
    let garbage = files * 50
    return {
      compactRange: ({ blobGarbageCollectionAgeCutoff: share = 0 }) => {
        moved.push(Math.floor(share * files))
        garbage -= Math.floor(share * files) * 50
        return Promise.resolve()
      },
      getProperty: (name) => {
        const MIB = 1024 ** 2
        if (name.endsWith('garbage-size')) return Promise.resolve(String(garbage * MIB))
        if (name.endsWith('num-blob-files')) return Promise.resolve(String(files))
        return Promise.resolve(String(name.endsWith('sst-files-size') ? MIB : files * 100 * MIB))
      }
    }
  }
  const room = (mib: number) => () => Promise.resolve(mib * 1024 ** 2)
  t.is(await reclaim(tables(8), room(10_000)), 0)
  t.alike(moved.splice(0), [0, 2, 2, 2, 2])
  t.is(await reclaim(tables(8), room(170)), 0)
  t.alike(moved.splice(0), [0, 1, 1, 1, 1, 1, 1, 1, 1])
  t.is(await reclaim(tables(8), room(160)), 400 * 1024 ** 2)
  t.alike(moved.splice(0), [0])
  t.is(await reclaim(tables(8), room(50)), 400 * 1024 ** 2)
  t.alike(moved, [])
})

test('the dedup index forgets blocks', async (t) => {
  const random = new Random()
  const directory = path.join(await t.tmp(), 'index')
  const open = async () => {
    const opened = new DedupIndex({
      directory,
      stored: (_log, some) => Promise.resolve(some.map(() => true))
    })
    await opened.ready()
    await opened.loaded()
    return opened
  }
  const log = random.bytes(32)
  const ids = random.bytes(32 * 16 * 10)
  let index = await open()
  await index.add(log, 0, new Array<number>(10).fill(16), ids)
  await index.forget(log, 3, 7)
  const found = async () => {
    const { words } = await index.lookup(ids)
    return Array.from({ length: 10 }, (_, i) => words[i * 16 * 3] > 0)
  }
  const expected = [true, true, true, false, false, false, false, true, true, true]
  t.alike(await found(), expected)
  t.is(index.chunks, 96)
  t.alike(await index.unknown(log, 0, 10), [3, 4, 5, 6])
  await index.close()
  index = await open()
  t.alike(await found(), expected, 'after a restart too')
  await index.forget(log, 0, 1000)
  t.is(index.chunks, 0)
  await index.close()
})

async function diskUsage(directory: string): Promise<number> {
  return Number((await tool('du', '-s', '-B1', directory)).split('\t')[0])
}
