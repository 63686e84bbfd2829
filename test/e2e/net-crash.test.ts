import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { cp, rm } from 'node:fs/promises'
import path from 'node:path'
import test, { type Assert } from 'brittle'
import HyperDHT from 'hyperdht'
import { LogStore } from '../../lib/store/log-store.ts'
import { block, blocks } from '../conformance/log-store.ts'
import { startChild, type Child } from '../helpers/children.ts'
import { connected, Fleet } from '../helpers/networks.ts'
import { createLogStore } from '../helpers/stores.ts'
import { until } from '../helpers/until.ts'

const COUNT = 3000
const BYTES = 16_384

/** A device in a process of its own, of the same fleet as `mine`. */
function startPeer(t: Assert, fleet: Fleet, seed: Buffer, directory: string, mine: Buffer): Child {
  const topic = fleet.topic.toString('hex')
  const args = [fleet.bootstrap[0], topic, seed.toString('hex'), mine.toString('hex')]
  return startChild(t, 'net-peer', directory, ...args)
}

test('a fetch goes on after the only other process was killed and came back', async (t) => {
  t.timeout(90_000)
  const fleet = await Fleet.create(t)
  const [seed, keyPair] = [randomBytes(32), HyperDHT.keyPair()]
  fleet.members.push(HyperDHT.keyPair(seed).publicKey)
  const directory = await t.tmp()
  const before = startPeer(t, fleet, seed, directory, keyPair.publicKey)
  await before.line()
  before.say(`write ${COUNT} ${BYTES}`)
  const key = Buffer.from(await before.line(), 'hex')
  const office = await fleet.device({ keyPair })
  const log = await office.store.open(key)
  let arrived = 0
  log.on('stored', () => arrived++)
  await office.network.ensureLength(key, COUNT)
  const all = Array.from({ length: COUNT }, (_, i) => i)
  const fetching = office.network.fetcher.fetch(key, all, { priority: 'demand' })
  await until(() => arrived > 300)
  await before.end('SIGKILL')
  t.ok(arrived < COUNT)
  const after = startPeer(t, fleet, seed, directory, keyPair.publicKey)
  await after.line()
  await fetching
  t.is(await log.firstMissing(0, COUNT), -1)
  t.alike(await log.read(COUNT - 1), Buffer.alloc(BYTES, (COUNT - 1) & 255))
  after.say('write 1 100')
  t.unlike(Buffer.from(await after.line(), 'hex'), key, 'and it writes a new log')
})

test('a device that was rolled back learns from its peer that it knew more', async (t) => {
  const fleet = await Fleet.create(t)
  const directory = await t.tmp()
  const first = new LogStore({ directory })
  await first.ready()
  await (await first.current('parcel:a')).append(blocks(0, 2))
  await first.close()
  const snapshot = await t.tmp()
  await cp(directory, snapshot, { recursive: true })

  const store = new LogStore({ directory })
  await store.ready()
  const home = await fleet.device({ store })
  const log = await store.current('parcel:a')
  await log.append(blocks(2, 3))
  await store.flush()
  const office = await fleet.device()
  await office.network.ensureLength(log.key, 5)
  await office.network.fetcher.fetch(log.key, [0, 1, 2, 3, 4], { priority: 'hoard' })
  await office.store.flush()
  await home.network.close()
  await store.close()

  for (const name of ['logs.json', path.join('cores', 'db')]) {
    await rm(path.join(directory, name), { recursive: true })
    await cp(path.join(snapshot, name), path.join(directory, name), { recursive: true })
  }
  const rolledBack = await createLogStore(t, directory)
  const old = await rolledBack.current('parcel:a')
  t.is(old.length, 2)
  const retired = once(rolledBack, 'retired')
  const again = await fleet.device({ store: rolledBack, keyPair: home.keyPair })
  await connected(again, office)
  const [which, reason] = await retired
  t.is(which, old)
  t.is(reason, 'peer-knows-more')
  t.unlike((await rolledBack.current('parcel:a')).key, log.key)
  await again.network.fetcher.fetch(log.key, [4], { priority: 'demand' })
  t.alike(await old.read(4), block(4), 'and gets back what was lost')
})
