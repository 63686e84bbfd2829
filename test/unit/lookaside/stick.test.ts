/** A stick is written by one store and read by another; whatever happens to it, nothing wrong is ever stored. */
import { cp, mkdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import type { Assert } from 'brittle'
import type { LocalPeer } from '../../../lib/net/local-source.ts'
import type { Log, LogProof } from '../../../lib/store/ports.ts'
import type { LogStore } from '../../../lib/store/log-store.ts'
import { NearbyProcess, Reader, fillStick, filesOf } from '../../helpers/sticks.ts'
import { createLogStore } from '../../helpers/stores.ts'
import { until } from '../../helpers/until.ts'

const LONG = { timeout: 120_000 }

test('a reader that knows nothing gets all of it', LONG, async (t) => {
  const { log, stick, nearby } = await made(t, 21)
  const { bytes, written } = await fillStick(nearby, stick, log)
  t.is(bytes, 21 * 1000)
  t.is(written, bytes)
  const reader = new Reader(t, await createLogStore(t))
  const [source] = await reader.plug(nearby, stick)
  await reader.fetcher.fetch(log.key, range(0, 21), { priority: 'hoard' })
  await same(t, log, reader.store, log.key, range(0, 21))
  t.alike(source.hits, { blocks: 21, bytes: 21 * 1000 })
  t.alike(reader.violations, [])
})

test('some blocks of a log, for readers that know it at any length', LONG, async (t) => {
  const { log, stick, nearby, store } = await made(t, 0)
  const proofs: (LogProof | null)[] = [null]
  for (let length = 1; length <= 40; length++) {
    await append(store, log, 1)
    proofs.push(await log.proveLength(0, length))
  }
  const needed = [3, 4, 17, 18, 30, 38, 39]
  await fillStick(nearby, stick, log, runs(needed), { lengths: range(1, 40) })
  for (const known of [0, 1, 5, 16, 17, 31, 39, 40]) {
    const reader = new Reader(t, await createLogStore(t))
    const copy = await reader.store.open(log.key)
    if (known > 0) t.ok(await copy.apply(proofs[known]!))
    await reader.plug(nearby, stick)
    await reader.fetcher.fetch(log.key, needed, { priority: 'demand' })
    t.alike(
      await copy.hasEach(needed),
      needed.map(() => true),
      `known: ${known}`
    )
    t.alike(reader.violations, [])
    reader.fetcher.close()
  }
})

test('a stale stick serves what it has, once somebody gives the roots', LONG, async (t) => {
  const { log, stick, nearby, store } = await made(t, 21)
  await fillStick(nearby, stick, log)
  await append(store, log, 30)
  const reader = new Reader(t, await createLogStore(t))
  const copy = await reader.store.open(log.key)
  await copy.apply((await log.proveLength(0, 51))!)
  const asked = plugPeer(reader, log, 20)
  const [source] = await reader.plug(nearby, stick)
  await reader.fetcher.watch(log.key)
  await until(() => asked.length > 0)
  t.alike(asked.splice(0), [20], 'the last block of what the stick knows brings the roots')
  await until(async () => reader.fetcher.holders(log.key, 0, 20).length > 0)
  await reader.fetcher.fetch(log.key, range(0, 51), { priority: 'hoard' })
  await same(t, log, reader.store, log.key, range(0, 51))
  t.ok(source.hits.blocks >= 20, `${source.hits.blocks} blocks came from the stick`)
  t.alike(reader.violations, [])
})

test('filled again: only what is new is written, what is not needed goes', LONG, async (t) => {
  const { log, stick, nearby, store } = await made(t, 100)
  await fillStick(nearby, stick, log, [[0, 100]], { partBytes: 10_000 })
  const parts = filesOf(stick).filter((name) => name.includes('part-')).length
  await append(store, log, 20)
  // Of the first parts, one block in five is still needed.
  const needed = [...range(0, 50).filter((block) => block % 5 === 0), ...range(50, 120)]
  const { bytes, written } = await fillStick(nearby, stick, log, runs(needed), {
    partBytes: 10_000
  })
  t.is(bytes, needed.length * 1000)
  t.is(written, 30 * 1000, '20 new ones, and 10 that moved')
  t.ok(filesOf(stick).filter((name) => name.includes('part-')).length < parts, 'parts went')
  const reader = new Reader(t, await createLogStore(t))
  await reader.plug(nearby, stick)
  await reader.fetcher.fetch(log.key, needed, { priority: 'hoard' })
  await same(t, log, reader.store, log.key, needed)
  t.is((await fillStick(nearby, stick, log, runs(needed))).written, 0)
})

test('a fill that was interrupted is used, and goes on', LONG, async (t) => {
  const { log, stick, nearby } = await made(t, 150, 20_000)
  const stopped = fillStick(nearby, stick, log, undefined, { partBytes: 100_000, stopAfter: 1 })
  await t.exception.all(stopped, /stopped/)
  const found = await nearby.look(stick)
  t.is(found.sticks[0].version, null, 'not whole')
  const there = found.sticks[0].bytes
  t.ok(there > 0 && there < 3_000_000, `${there} bytes are there`)
  const reader = new Reader(t, await createLogStore(t))
  await reader.plug(nearby, stick)
  await reader.fetcher.fetch(log.key, range(0, 40), { priority: 'hoard' })
  await same(t, log, reader.store, log.key, range(0, 40))
  const { bytes, written } = await fillStick(nearby, stick, log)
  t.is(bytes, 3_000_000)
  t.is(written, bytes - there, 'only what was missing')
  t.is((await nearby.look(stick)).sticks[0].version?.number, 1)
})

test('two fills at once, a folder without room, another fleet', LONG, async (t) => {
  const { log, stick, nearby } = await made(t, 5)
  const begin = { path: stick, parcel: '09'.repeat(16), cards: [] }
  const { fill } = await nearby.calls.call('fill.begin', begin)
  await t.exception(fillStick(nearby, stick, log), /Another fill/)
  await t.exception(nearby.calls.call('fill.room', { fill, bytes: 1e18 }), /too little space/)
  await nearby.calls.call('fill.stop', { fill })
  await fillStick(nearby, stick, log)
  const other = new NearbyProcess(Buffer.alloc(32, 8))
  const { kind, sticks, foreign } = await other.look(stick)
  t.alike({ kind, sticks, foreign }, { kind: 'stick', sticks: [], foreign: 1 })
  t.is((await nearby.look(path.join(stick, 'nothing'))).kind, null)
  const names = filesOf(stick).join()
  for (const file of filesOf(stick)) {
    t.absent((await readFile(file)).includes(log.key), 'a log is not named in the clear')
  }
  t.absent(names.includes(log.key.toString('hex').slice(0, 8)))
})

test('any byte of a stick may be wrong', LONG, async (t) => {
  const { log, stick, nearby } = await made(t, 3, 40)
  await fillStick(nearby, stick, log)
  const files = filesOf(stick).filter((name) => !name.endsWith('lock'))
  const good = await Promise.all(files.map((file) => readFile(file)))
  let changed = 0
  let served = 0
  for (const [i, file] of files.entries()) {
    for (let at = 0; at < good[i].byteLength; at += 1) {
      const bad = Buffer.from(good[i])
      bad[at] ^= 1 << (at % 8)
      await writeFile(file, bad)
      served += await allRight(t, stick, log)
      changed++
    }
    for (const length of [0, 1, Math.floor(good[i].byteLength / 2), good[i].byteLength - 1]) {
      await truncate(file, length)
      served += await allRight(t, stick, log)
      await writeFile(file, good[i])
    }
  }
  t.ok(served > 0, `${changed} bytes changed, ${served} blocks were right, none was wrong`)
})

test('blocks that a stick has no more come from elsewhere', LONG, async (t) => {
  const { log, stick, nearby } = await made(t, 40)
  await fillStick(nearby, stick, log)
  const part = filesOf(stick).find((name) => name.includes('part-'))!
  const reader = new Reader(t, await createLogStore(t))
  await reader.plug(nearby, stick)
  await reader.fetcher.fetch(log.key, range(0, 10), { priority: 'hoard' })
  await truncate(part, 20_000) // pulled out, in a way
  plugPeer(reader, log)
  await reader.fetcher.fetch(log.key, range(0, 40), { priority: 'hoard' })
  await same(t, log, reader.store, log.key, range(0, 40))
  t.alike(reader.violations, [])
  t.ok((await nearby.look(stick)).sticks[0].damaged, 'and it is said')
  await rename(stick, `${stick}-away`)
  t.is((await nearby.look(stick)).kind, null)
  await cp(`${stick}-away`, stick, { recursive: true })
  t.is((await nearby.look(stick)).kind, 'stick', 'back again')
  await rm(`${stick}-away`, { recursive: true })
})

/** What the stick says of each block is that block, or nothing. Returns how many it gave. */
async function allRight(t: Assert, stick: string, log: Log): Promise<number> {
  const nearby = new NearbyProcess() // it may be too quick for the time of the file to change
  const { sticks } = await nearby.look(stick)
  let given = 0
  for (const { folder } of sticks) {
    for (let index = 0; index < log.durableLength; index++) {
      const params = { folder, log: log.key.toString('hex'), index, nodes: 8 }
      const { json, attachment } = await nearby.calls.callRaw('stick.block', params)
      if (json === null) continue
      given++
      if (!attachment.includes((await log.read(index))!)) t.fail(`block ${index} is another one`)
    }
  }
  await nearby.worker.close()
  return given
}

/** The author itself, as a source like any other, of what it has from a block on. Returns what it is asked for. */
function plugPeer(reader: Reader, log: Log, from = 0): number[] {
  const asked: number[] = []
  const peer: LocalPeer = {
    onwant: (_key, on) => {
      if (!on) return
      const have = { log: log.key, reset: true, length: log.durableLength, treeHash: null }
      setImmediate(() =>
        source.have({ ...have, runs: [{ start: from, count: log.durableLength - from }] })
      )
    },
    onblockrequest: ({ id, index, nodes }) => {
      asked.push(index)
      void log.proveBlock(index, nodes).then((proof) => {
        source.proof({ id, block: proof!.block, upgrade: null, manifest: null })
      })
    },
    onlengthrequest: ({ id, from: known }) => {
      void log.proveLength(known, log.durableLength).then((proof) => {
        source.proof({ id, block: null, upgrade: proof!.upgrade, manifest: proof!.manifest })
      })
    }
  }
  const source = reader.locals.add(peer)
  return asked
}

/** A log of that many blocks, an empty stick. */
async function made(t: Assert, blocks: number, bytes = 1000) {
  const store = await createLogStore(t)
  const log = await store.current('parcel:a')
  if (blocks > 0) await append(store, log, blocks, bytes)
  const stick = path.join(await t.tmp(), 'stick')
  await mkdir(stick)
  const nearby = new NearbyProcess()
  t.teardown(() => nearby.worker.close())
  return { store, log, stick, nearby }
}

async function append(store: LogStore, log: Log, count: number, bytes = 1000): Promise<void> {
  const start = log.length
  await log.append(
    range(0, count).map((i) =>
      Buffer.alloc(bytes, `block ${start + i} of ${log.key.toString('hex')}`)
    )
  )
  await store.flush()
}

async function same(
  t: Assert,
  log: Log,
  store: LogStore,
  key: Buffer,
  blocks: number[]
): Promise<void> {
  const copy = await store.open(key)
  for (const block of blocks) {
    const [ours, theirs] = [await copy.read(block), await log.read(block)]
    if (ours?.equals(theirs!) !== true) return t.fail(`block ${block}`)
  }
  t.pass(`${blocks.length} blocks are the same`)
}

function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i)
}

function runs(blocks: number[]): [number, number][] {
  const found: [number, number][] = []
  for (const block of blocks) {
    const last = found.at(-1)
    if (last !== undefined && last[0] + last[1] === block) last[1]++
    else found.push([block, 1])
  }
  return found
}
