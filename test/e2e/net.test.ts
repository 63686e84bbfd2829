import test from 'brittle'
import { LogStore } from '../../lib/store/log-store.ts'
import { block, blocks } from '../conformance/log-store.ts'
import { connected, Fleet } from '../helpers/networks.ts'
import { createLogStore } from '../helpers/stores.ts'
import { until } from '../helpers/until.ts'

test('demand fetch from the device that wrote', async (t) => {
  const fleet = await Fleet.create(t)
  const [home, office] = [await fleet.device(), await fleet.device()]
  await connected(home, office)
  const log = await home.store.current('parcel:a')
  await log.append(blocks(0, 100))
  await home.store.flush()
  await office.network.fetcher.fetch(log.key, [70, 3], { priority: 'demand' })
  const copy = await office.store.open(log.key)
  t.alike(await copy.read(70), block(70))
  t.alike(await copy.read(3), block(3))
  const all = Array.from({ length: 100 }, (_, i) => i)
  await office.network.fetcher.fetch(log.key, all, { priority: 'hoard' })
  for (const i of all) if (!(await copy.read(i))?.equals(block(i))) t.fail(`block ${i} differs`)
  const [status] = office.network.peers()
  t.is(status.blocksIn, 100)
  t.is(status.blocksWasted, 0)
  t.ok(status.bytesIn > 300_000)
  await until(async () => (await copy.durableRuns(0, 100, 1))[0]?.count === 100)
  await until(() => home.network.holders(log.key, 0, 100).length === 1)
  t.pass('what arrived is flushed without being asked, and its author hears of it')
})

test('an append is fetched only when it was flushed', async (t) => {
  const fleet = await Fleet.create(t)
  const [home, office] = [await fleet.device(), await fleet.device()]
  await connected(home, office)
  const log = await home.store.current('parcel:a')
  await log.append(blocks(0, 3))
  await home.store.flush()
  await office.network.ensureLength(log.key, 3)
  await log.append(blocks(3, 2))
  let done = false
  const fetching = office.network.fetcher
    .fetch(log.key, [4], { priority: 'demand' })
    .then(() => (done = true))
  await new Promise((resolve) => setTimeout(resolve, 1000))
  t.absent(done)
  t.is((await office.store.open(log.key)).length, 3)
  await home.store.flush()
  await fetching
  t.alike(await (await office.store.open(log.key)).read(4), block(4))
})

test('a followed log stays up to date, also through a third device', async (t) => {
  const fleet = await Fleet.create(t)
  const [home, office] = [await fleet.device(), await fleet.device()]
  const log = await home.store.current('registry')
  await office.network.followLog(log.key)
  const copy = await office.store.open(log.key)
  for (let i = 0; i < 5; i++) {
    await log.append(blocks(i, 1))
    await home.store.flush()
    await office.network.ensureLength(log.key, i + 1)
  }
  await until(async () => (await copy.firstMissing(0, 5)) === -1)
  await office.store.flush()
  await home.network.close()
  const laptop = await fleet.device()
  await laptop.network.followLog(log.key)
  await laptop.network.ensureLength(log.key, 5)
  const third = await laptop.store.open(log.key)
  await until(async () => (await third.firstMissing(0, 5)) === -1)
  t.alike(await third.read(4), block(4))
  await laptop.store.flush()
})

test('two devices have it and one goes away in the middle', { timeout: 180_000 }, async (t) => {
  const fleet = await Fleet.create(t)
  const home = await fleet.device()
  const log = await home.store.current('parcel:a')
  const count = 2000
  await log.append(Array.from({ length: count }, (_, i) => large(i)))
  await home.store.flush()
  const all = Array.from({ length: count }, (_, i) => i)
  const cache = await fleet.device()
  await cache.network.fetcher.fetch(log.key, all, { priority: 'hoard' })
  await cache.store.flush()
  const office = await fleet.device()
  await connected(office, home)
  await connected(office, cache)
  const copy = await office.store.open(log.key)
  let arrived = 0
  copy.on('stored', () => {
    if (++arrived === 500) void cache.network.close()
  })
  await office.network.fetcher.fetch(log.key, all, { priority: 'hoard' })
  for (let i = 0; i < count; i += 97) {
    if (!(await copy.read(i))?.equals(large(i))) t.fail(`block ${i} differs`)
  }
  t.is(await copy.firstMissing(0, count), -1)
  const { blocksWasted } = office.network.traffic.totals()
  t.ok(blocksWasted < count / 10, `${blocksWasted} blocks came twice`)
})

test('a fetch goes on when the only other device comes back', { timeout: 180_000 }, async (t) => {
  const fleet = await Fleet.create(t)
  const directory = await t.tmp()
  const first = new LogStore({ directory })
  await first.ready()
  const home = await fleet.device({ store: first })
  const log = await home.store.current('parcel:a')
  const count = 1000
  await log.append(Array.from({ length: count }, (_, i) => large(i)))
  await home.store.flush()
  const office = await fleet.device()
  await connected(office, home)
  const copy = await office.store.open(log.key)
  let arrived = 0
  copy.on('stored', () => arrived++)
  const all = Array.from({ length: count }, (_, i) => i)
  const fetching = office.network.fetcher.fetch(log.key, all, { priority: 'hoard' })
  await until(() => arrived >= 200)
  await home.network.close()
  await first.close()
  t.ok(arrived < count)
  await new Promise((resolve) => setTimeout(resolve, 500))
  await fleet.device({ keyPair: home.keyPair, store: await createLogStore(t, directory) })
  await fetching
  t.is(await copy.firstMissing(0, count), -1)
  const { blocksWasted } = office.network.traffic.totals()
  t.ok(blocksWasted < count / 10, `${blocksWasted} blocks came twice`)
})

function large(n: number): Buffer {
  return Buffer.alloc(16_384, n & 255)
}
