/** One peer over two paths: Hyperswarm, and TCP on a local network. */
import test, { type Assert } from 'brittle'
import { randomBytes } from 'node:crypto'
import { Fleet, connected, type Device } from '../../helpers/networks.ts'
import { until } from '../../helpers/until.ts'

const BLOCKS = 300

async function pair(t: Assert): Promise<[Device, Device]> {
  const fleet = await Fleet.create(t)
  const home = await fleet.device({ lan: {} })
  const office = await fleet.device({
    lan: {},
    handlers: { echo: (params) => params }
  })
  await connected(home, office)
  await until(() => kinds(home).length === 2 && kinds(office).length === 2)
  return [home, office]
}

test('a link that breaks is not missed', { timeout: 120_000 }, async (t) => {
  const [home, office] = await pair(t)
  t.alike(kinds(home), ['lan', 'wan'])
  t.is(home.network.peers().length, 1, 'one device')
  const removed: Buffer[] = []
  home.network.on('peer-remove', (key: Buffer) => removed.push(key))

  const log = await office.store.current('parcel:a')
  const blocks = Array.from({ length: BLOCKS }, () => randomBytes(16 * 1024))
  await log.append(blocks)
  await office.store.flush()
  await home.network.ensureLength(log.key, BLOCKS)
  await until(() => home.network.holders(log.key, 0, BLOCKS).length > 0)
  t.is(home.network.holders(log.key, 0, BLOCKS).length, 1, 'one holder')

  for (const kind of ['lan', 'wan'] as const) {
    const start = kind === 'lan' ? 0 : BLOCKS / 2
    const indexes = Array.from({ length: BLOCKS / 2 }, (_, i) => start + i)
    const before = home.network.traffic.totals().blocksIn
    const fetched = home.network.fetcher.fetch(log.key, indexes, { priority: 'proactive' })
    await until(() => home.network.traffic.totals().blocksIn > before)
    breakLink(home, kind)
    t.alike(await home.network.call(office.keyPair.publicKey, 'echo', kind), kind)
    await fetched
    const mine = await home.store.open(log.key)
    let wrong = 0
    for (const index of indexes) if (!blocks[index].equals((await mine.read(index))!)) wrong++
    t.is(wrong, 0, `all is here although ${kind} broke`)
    await until(() => kinds(home).length === 2 && kinds(office).length === 2)
  }
  t.is(removed.length, 0, 'it was there all the time')
})

test('addresses learned over Hyperswarm are called', { timeout: 120_000 }, async (t) => {
  const [home, office] = await pair(t)
  await until(() => home.network.peers()[0].links.every(({ rttMs }) => rttMs !== null))
  breakLink(home, 'lan')
  await until(() => kinds(home).length === 2 && kinds(office).length === 2)
  t.is(home.network.peers()[0].connectedAt > 0, true)
})

function kinds(device: Device): string[] {
  return (device.network.peers()[0]?.links ?? []).map(({ kind }) => kind).sort()
}

function breakLink({ network }: Device, kind: 'lan' | 'wan'): void {
  for (const connection of network.pairingSwarm.connections) {
    if (network.swarm.connections.has(connection) === (kind === 'wan')) connection.destroy()
  }
}
