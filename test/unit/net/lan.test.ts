import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import test from 'brittle'
import { Fleet, connected } from '../../helpers/networks.ts'
import { until } from '../../helpers/until.ts'

test('devices of a fleet find each other with no DHT', { timeout: 120_000 }, async (t) => {
  const fleet = await Fleet.silent(t)
  const home = await fleet.device({ lan: {} })
  const office = await fleet.device({ lan: {}, handlers: { echo: (params) => params } })
  await connected(home, office)
  await connected(office, home)
  const [peer] = home.network.peers()
  t.is(home.network.peers().length, 1)
  t.is(peer.kind, 'lan')
  t.is(await home.network.call(office.keyPair.publicKey, 'echo', 'hello'), 'hello')
  const log = await office.store.current('parcel:a')
  await log.append([randomBytes(1000)])
  await office.store.flush()
  await home.network.ensureLength(log.key, 1)
  await home.network.fetcher.fetch(log.key, [0], { priority: 'demand' })
  t.alike(home.network.holders(log.key, 0, 1), [office.keyPair.publicKey])
  await until(() => home.network.peers()[0].byKind.lan.blocksIn === 1)
  const gone = once(home.network, 'peer-remove')
  await office.network.close()
  await gone
  t.is(home.network.peers().length, 0)
})

test('one link stays when both called', { timeout: 120_000 }, async (t) => {
  const fleet = await Fleet.silent(t)
  const [a, b] = await Promise.all([fleet.device({ lan: {} }), fleet.device({ lan: {} })])
  await connected(a, b)
  await until(() => a.network.peers()[0]?.links.length === 1)
  t.is(b.network.peers().length, 1)
})
