/** A store was copied and both copies went on: whoever sees both histories keeps the proof, and says so. */
import { cp, readdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test, { type Assert } from 'brittle'
import type { SignedHead } from '../../../lib/format/signed-head.ts'
import { Contradictions } from '../../../lib/net/contradictions.ts'
import { LogStore } from '../../../lib/store/log-store.ts'
import type { StoredLog } from '../../../lib/store/log.ts'
import { block, blocks } from '../../conformance/log-store.ts'
import { Fleet, type Device } from '../../helpers/networks.ts'
import { createLogStore } from '../../helpers/stores.ts'
import { until } from '../../helpers/until.ts'

const COMMON = 5

interface Member extends Device {
  contradictions: Contradictions
  directory: string
}

test('a third device sees both histories and keeps the proof', async (t) => {
  const fleet = await Fleet.create(t)
  const [first, second] = await forked(t)
  await go(first, 100, 2)
  await go(second, 200, 4)
  const a = await member(t, fleet, first)
  const c = await member(t, fleet)
  const { key } = await first.current('parcel:a')
  await c.network.followLog(key)
  const log = await c.store.open(key)
  await until(async () => (await log.firstMissing(0, COMMON + 2)) === -1 && log.length > COMMON)
  t.is(log.length, COMMON + 2)
  const b = await member(t, fleet, second)
  await until(async () => c.contradictions.list().length > 0)
  const [found] = c.contradictions.list()
  t.alike(found.log, key)
  t.alike(found.device, b.keyPair.publicKey)
  t.alike(found.lengths, [COMMON + 2, COMMON + 4])
  t.is(log.length, COMMON + 2, 'nothing of the other history was taken')
  t.alike(await log.read(COMMON), block(100))
  await until(async () => (await a.store.current('parcel:a')).key.equals(key) === false)
  t.pass('who wrote it begins a new log')

  const again = new Contradictions({ directory: c.directory, store: c.store, mayServe: () => true })
  await again.ready()
  t.alike(again.list(), c.contradictions.list(), 'and is known after a restart')
  await again.close()
  const [name] = await readdir(c.directory)
  await writeFile(path.join(c.directory, name), 'something else')
  const damaged = new Contradictions({
    directory: c.directory,
    store: c.store,
    mayServe: () => true
  })
  await damaged.ready()
  t.alike(damaged.list(), [], 'a damaged file is no proof and no failure')
  await damaged.close()
})

test('histories of one length contradict too', async (t) => {
  const fleet = await Fleet.create(t)
  const [first, second] = await forked(t)
  await go(first, 100, 3)
  await go(second, 200, 3)
  const a = await member(t, fleet, first)
  const b = await member(t, fleet, second)
  await until(async () => [a, b].every(({ contradictions }) => contradictions.list().length > 0))
  t.alike(a.contradictions.list()[0].lengths, [COMMON + 3, COMMON + 3])
  t.alike(a.contradictions.list()[0].device, b.keyPair.publicKey)
})

test('heads that nobody signed prove nothing', async (t) => {
  const [first, second] = await forked(t)
  await go(first, 100, 6)
  await go(second, 200, 9)
  const ours = await first.current('parcel:a')
  const theirs = await second.current('parcel:a')
  for (const at of [1, 2, 3, 4, 5]) {
    const [a, b] = [(await ours.signedHead(at))!, (await theirs.signedHead(at))!]
    t.alike(await ours.verifyHead(b), await theirs.verifyHead(a), `the same at ${at}`)
    t.alike(await ours.verifyHead(a), await ours.treeHash(at))
  }
  const [a, b] = [(await ours.signedHead(8))!, (await theirs.signedHead(8))!]
  t.unlike(await ours.verifyHead(b), await ours.verifyHead(a), 'not at 8')
  t.ok(await ours.verifyHead(b))
  const [top] = (await theirs.signedHead(14))!.roots
  const lies: Record<string, SignedHead> = {
    'another root': { ...b, roots: [{ ...b.roots[0], hash: Buffer.alloc(32) }] },
    'another size': { ...b, roots: [{ ...b.roots[0], size: b.roots[0].size + 1 }] },
    'another length': { ...b, length: b.length - 1 },
    'other first blocks, below a node that counts': {
      ...b,
      roots: [{ ...b.roots[0], hash: Buffer.alloc(32) }],
      more: [top, ...b.more]
    },
    'a missing node': { ...b, more: b.more.slice(1) },
    'another signature': { ...b, signature: a.signature },
    'an absurd length': { ...b, length: Number.MAX_SAFE_INTEGER },
    'no blocks': { ...b, at: 0, roots: [] },
    'another log': { ...b, log: Buffer.alloc(32) }
  }
  for (const [what, head] of Object.entries(lies)) t.is(await ours.verifyHead(head), null, what)
})

/** Two stores that both write the same log, from block `COMMON` on. */
async function forked(t: Assert): Promise<[LogStore, LogStore]> {
  const directory = await t.tmp()
  const store = new LogStore({ directory })
  await store.ready()
  await (await store.current('parcel:a')).append(blocks(0, COMMON))
  await store.close()
  const copy = await t.tmp()
  await cp(directory, copy, { recursive: true })
  // By this file Corestore would notice.
  await rm(path.join(copy, 'cores', 'CORESTORE'))
  return [await createLogStore(t, directory), await createLogStore(t, copy)]
}

async function go(store: LogStore, first: number, count: number): Promise<StoredLog> {
  const log = await store.current('parcel:a')
  await log.append(blocks(first, count))
  await store.flush()
  return log
}

async function member(t: Assert, fleet: Fleet, given?: LogStore): Promise<Member> {
  const store = given ?? (await createLogStore(t))
  const directory = await t.tmp()
  const contradictions = new Contradictions({ directory, store, mayServe: () => true })
  await contradictions.ready()
  const device = await fleet.device({ store, handlers: contradictions.handlers })
  contradictions.watch(device.network)
  t.teardown(() => contradictions.close(), { order: -2 })
  return { ...device, contradictions, directory }
}
