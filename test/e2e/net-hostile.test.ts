import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import test, { type Assert } from 'brittle'
import type { FetchChannel } from '../../lib/net/fetch-channel.ts'
import type { Log } from '../../lib/store/ports.ts'
import { block, blocks } from '../conformance/log-store.ts'
import { Fleet, type Device } from '../helpers/networks.ts'
import { createLiar, RawPeer, type RawHandlers } from '../helpers/raw-peer.ts'
import { until } from '../helpers/until.ts'

const COUNT = 40

test('a stranger who knows the topic gets no connection, until it is admitted', async (t) => {
  const fleet = await Fleet.create(t)
  const home = await fleet.device()
  const log = await home.store.current('parcel:a')
  await log.append(blocks(0, 3))
  await home.store.flush()
  const stranger = new RawPeer(fleet, (channel) => ({ have: () => channel.close() }))
  await stranger.announced()
  await new Promise((resolve) => setTimeout(resolve, 2000))
  t.is(stranger.connections.length, 0)
  t.is(home.network.swarm.connections.size, 0)
  t.is(home.network.swarm.peers.size, 0, 'and is not remembered')
  fleet.members.push(stranger.keyPair.publicKey)
  home.network.membersChanged()
  await stranger.connected()
  t.pass('admitted')
})

test('a candidate gets no fetch channel, and is disconnected; admitted it is a device at once', async (t) => {
  const fleet = await Fleet.create(t)
  const home = await fleet.device({ pairingOpen: () => true, candidateMs: 1500 })
  const candidate = new RawPeer(fleet, () => ({}))
  await once(candidate.swarm, 'connection')
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.is(candidate.opened, 0)
  t.is(home.network.peers().length, 0)
  await until(() => candidate.connections[0].destroyed)
  t.pass('disconnected')

  const office = await fleet.join({ isMember: () => true })
  await once(home.network.swarm, 'connection')
  t.is(home.network.peers().length, 0, 'a candidate still')
  fleet.members.push(office.keyPair.publicKey)
  home.network.membersChanged()
  await until(() => home.network.isConnected(office.keyPair.publicKey))
  const log = await home.store.current('parcel:a')
  await log.append(blocks(0, 3))
  await home.store.flush()
  await office.network.fetcher.fetch(log.key, [2], { priority: 'demand' })
  t.alike(await (await office.store.open(log.key)).read(2), block(2))
})

test('few candidates at a time', async (t) => {
  const fleet = await Fleet.create(t)
  const home = await fleet.device({ pairingOpen: () => true })
  const candidates = Array.from({ length: 12 }, () => new RawPeer(fleet, () => ({})))
  await Promise.all(candidates.map((candidate) => candidate.announced()))
  await new Promise((resolve) => setTimeout(resolve, 2000))
  t.ok(home.network.swarm.connections.size > 0)
  t.ok(home.network.swarm.connections.size <= 8)
})

test('a log that a peer may not have', async (t) => {
  const fleet = await Fleet.create(t)
  const allowed = new Set<string>()
  const home = await fleet.device({ mayServe: (_peer, log) => allowed.has(log.toString('hex')) })
  const office = await fleet.device()
  const log = await home.store.current('parcel:a')
  await log.append(blocks(0, 3))
  await home.store.flush()
  await until(() => office.network.isConnected(home.keyPair.publicKey))
  const fetching = office.network.fetcher.fetch(log.key, [2], { priority: 'demand' })
  await new Promise((resolve) => setTimeout(resolve, 700))
  t.is((await office.store.open(log.key)).length, 0)
  allowed.add(log.key.toString('hex'))
  home.network.membersChanged()
  await fetching
  t.pass('until it may')
})

type Lie = (channel: FetchChannel, log: Log) => RawHandlers

/** Announces the log and proves its length truthfully, unless `lie` says otherwise. */
function announcing(lie: Lie) {
  return (channel: FetchChannel, log: Log): RawHandlers => ({
    want: (want) => {
      if (!want.log.equals(log.key)) return
      const runs = [{ start: 0, count: COUNT }]
      channel.send.have({ log: log.key, reset: true, length: COUNT, treeHash: null, runs })
    },
    lengthRequest: ({ id }) =>
      void log.proveLength(0, COUNT).then((proof) => {
        const { upgrade, manifest } = proof!
        channel.send.proof({ id, block: null, upgrade, manifest })
      }),
    ...lie(channel, log)
  })
}

const LIES: Record<string, Lie> = {
  'other data': (channel, log) => ({
    blockRequest: ({ id, index, nodes }) =>
      void log.proveBlock(index, nodes).then((proof) => {
        const value = Buffer.from(proof!.block!.value)
        value[100] ^= 1
        const answer = { ...proof!.block!, value }
        channel.send.proof({ id, block: answer, upgrade: null, manifest: null })
      })
  }),
  'another block': (channel, log) => ({
    blockRequest: ({ id, index, nodes }) =>
      void log.proveBlock((index + 1) % COUNT, nodes).then((proof) => {
        channel.send.proof({ id, block: proof!.block, upgrade: null, manifest: null })
      })
  }),
  'another block under the right number': (channel, log) => ({
    blockRequest: ({ id, index, nodes }) =>
      void log.proveBlock((index + 1) % COUNT, nodes).then((proof) => {
        const answer = { ...proof!.block!, index }
        channel.send.proof({ id, block: answer, upgrade: null, manifest: null })
      })
  }),
  'a forged length': (channel) => ({
    lengthRequest: ({ id, from }) => {
      const nodes = [{ index: COUNT - 1, size: 1000, hash: randomBytes(32) }]
      const upgrade = { start: from, length: COUNT - from, nodes, signature: randomBytes(100) }
      channel.send.proof({ id, block: null, upgrade, manifest: randomBytes(60) })
    }
  }),
  'a length where a block was asked for': (channel, log) => ({
    blockRequest: ({ id }) =>
      void log.proveLength(0, COUNT).then((proof) => {
        channel.send.proof({ id, block: null, upgrade: proof!.upgrade, manifest: null })
      })
  }),
  'answers to nothing': (channel) => ({
    blockRequest: ({ id }) => channel.send.unavailable({ id: id + 1000 })
  })
}

for (const [name, lie] of Object.entries(LIES)) {
  test(`a peer that lies is dropped, and the truth comes from another: ${name}`, async (t) => {
    const { office, key, liarKey, admitHome } = await withLiar(t, announcing(lie))
    const misbehaved = once(office.network, 'misbehaved')
    const all = Array.from({ length: COUNT }, (_, i) => i)
    const fetching = office.network.fetcher.fetch(key, all, { priority: 'demand' })
    const [who] = await misbehaved
    t.alike(who, liarKey)
    await admitHome()
    await fetching
    const copy = await office.store.open(key)
    for (const i of all) if (!(await copy.read(i))?.equals(block(i))) t.fail(`block ${i} differs`)
    t.absent(isPeer(office, liarKey), 'and not let in again soon')
  })
}

test('a peer that announces everything and answers nothing holds nobody up for long', async (t) => {
  const silent = announcing(() => ({}))
  const { office, key, liarKey, admitHome } = await withLiar(t, silent)
  const all = Array.from({ length: COUNT }, (_, i) => i)
  const fetching = office.network.fetcher.fetch(key, all, { priority: 'demand' })
  await office.network.ensureLength(key, COUNT)
  await admitHome()
  await fetching
  t.is(await (await office.store.open(key)).firstMissing(0, COUNT), -1)
  t.ok(isPeer(office, liarKey), 'slow is no offence')
})

const GARBAGE: Record<string, (channel: FetchChannel, peer: RawPeer) => void> = {
  'bytes that are no message': (_channel, peer) => {
    // The channel's number is 1 on a fresh connection, the message's number is that of `have`.
    peer.connections.at(-1)!.write(Buffer.concat([Buffer.from([1, 1]), randomBytes(50)]))
  },
  'a block larger than any block': (_channel, peer) => {
    const frame = Buffer.alloc(2_000_000, 7)
    Buffer.from([1, 4, 1, 1, 0, 0, 0xfe, 0, 0, 0x18, 0]).copy(frame)
    peer.connections.at(-1)!.write(frame)
  },
  'wishes without end': (channel) => {
    for (let i = 0; i < 70_000; i++) channel.send.want({ log: randomBytes(32), on: true })
  }
}

for (const [name, send] of Object.entries(GARBAGE)) {
  test(`a peer that sends garbage is dropped: ${name}`, async (t) => {
    const fleet = await Fleet.create(t)
    const office = await fleet.device()
    const { peer } = await createLiar(t, fleet, () => ({}))
    office.network.membersChanged()
    await peer.connected()
    await until(() => office.network.peers().length === 1)
    const misbehaved = once(office.network, 'misbehaved')
    send(peer.channels.at(-1)!, peer)
    const [who, err] = await misbehaved
    t.alike(who, peer.keyPair.publicKey)
    t.is(err.code, 'FORMAT_INVALID')
    await until(() => office.network.swarm.connections.size === 0)
  })
}

test('random frames never end the process', async (t) => {
  const fleet = await Fleet.create(t)
  const office = await fleet.device()
  for (let round = 0; round < 5; round++) {
    const { peer } = await createLiar(t, fleet, () => ({}))
    office.network.membersChanged()
    await peer.connected()
    const connection = peer.connections.at(-1)!
    for (let i = 0; i < 200 && !connection.destroyed; i++) {
      const frame = randomBytes(1 + (i % 90))
      frame[0] = i % 4
      connection.write(frame)
      if (i % 20 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const honest = await fleet.device()
  await until(() => office.network.isConnected(honest.keyPair.publicKey))
  t.pass('still serving')
})

function isPeer(device: Device, key: Buffer): boolean {
  return device.network.peers().some((peer) => peer.publicKey.equals(key))
}

interface Scene {
  office: Device
  key: Buffer
  liarKey: Buffer
  /** The honest device comes. */
  admitHome(): Promise<void>
}

/** An office, connected with a liar alone that has a true copy of the log. */
async function withLiar(
  t: Assert,
  handlers: (channel: FetchChannel, log: Log) => RawHandlers
): Promise<Scene> {
  const fleet = await Fleet.create(t)
  let copy: Log | null = null
  const { peer, store } = await createLiar(t, fleet, (channel) => handlers(channel, copy!))
  // The honest device writes, and waits where nobody sees it.
  const away = { topic: randomBytes(32), members: () => [] }
  const home = await fleet.device(away)
  const log = await home.store.current('parcel:a')
  await log.append(blocks(0, COUNT))
  await home.store.flush()
  copy = await store.open(log.key)
  await copy.apply((await log.proveLength(0, COUNT))!)
  for (let i = 0; i < COUNT; i++) {
    await copy.apply((await log.proveBlock(i, await copy.missingNodes(i)))!)
  }
  await store.flush()
  const office = await fleet.device({
    members: () => [],
    isMember: (key) => fleet.isMember(key)
  })
  await peer.connected()
  await until(() => office.network.peers().length === 1)
  const admitHome = async () => {
    if (office.network.isConnected(home.keyPair.publicKey)) return
    await home.network.joinTopic(fleet.topic)
    await until(() => office.network.isConnected(home.keyPair.publicKey))
  }
  return { office, key: log.key, liarKey: peer.keyPair.publicKey, admitHome }
}
