import test from 'brittle'
import type { Assert } from 'brittle'
import { Registry, createFleet, keyPair, loadIdentity } from '../../../lib/fleet/index.ts'
import type { FleetIdentity } from '../../../lib/fleet/index.ts'
import { adoptFleet } from '../../../lib/fleet/identity.ts'
import { ensureDeviceKey } from '../../../lib/fleet/device-key.ts'
import { signRecord } from '../../../lib/fleet/records.ts'
import { MemoryLogStore } from '../../helpers/memory-logs.ts'

interface Device {
  registry: Registry
  store: MemoryLogStore
  directory: string
  problems: string[]
}

async function open(
  t: Assert,
  directory: string,
  store: MemoryLogStore,
  identity?: FleetIdentity
): Promise<Device> {
  const registry = new Registry({
    identity: identity ?? (await loadIdentity(directory))!,
    store,
    keysDirectory: directory
  })
  const problems: string[] = []
  registry.on('problem', (err: { code: string }) => problems.push(err.code))
  await registry.ready()
  t.teardown(() => registry.close(), { order: -1 })
  return { registry, store, directory, problems }
}

async function first(t: Assert): Promise<Device> {
  const directory = await t.tmp()
  const { identity } = await createFleet({ keysDirectory: directory, name: 'home' })
  return open(t, directory, new MemoryLogStore(), identity)
}

/** Admits a further device, as pairing does, without the network. */
async function admitted(t: Assert, by: Device, name: string): Promise<Device> {
  const directory = await t.tmp()
  const keys = await ensureDeviceKey(directory)
  const given = await by.registry.admitDevice(keys.publicKey, name, 'device')
  const { keyring, identity } = by.registry
  const identityThere = await adoptFleet(directory, keys, {
    fleet: identity.fleet,
    name: given,
    role: 'device',
    keys: {
      epoch: keyring.epoch,
      fleetKey: Buffer.from(keyring.fleetKey()),
      dedupKey: Buffer.from(keyring.dedupKey)
    },
    topic: keyring.topic,
    card: by.registry.cards()[0]
  })
  return open(t, directory, new MemoryLogStore(), identityThere)
}

/** What the net layer does between two connected devices: cards, then the logs they name. */
async function sync(a: Device, b: Device): Promise<void> {
  for (const [from, to] of [
    [a, b],
    [b, a]
  ] as const) {
    for (const card of from.registry.cards()) await to.registry.addCard(card)
    for (const { log } of to.registry.registryLogs()) await to.store.pull(from.store, log, 'down')
  }
  await settle()
}

function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20))
}

function names(list: { name: string }[]): string[] {
  return list.map(({ name }) => name)
}

test('a first device finds its fleet again after a restart', async (t) => {
  const home = await first(t)
  const { id, key } = await home.registry.createParcel('desk')
  await home.registry.close()
  const cards = home.registry.cards()

  const again = await open(t, home.directory, home.store)
  t.alike(names(again.registry.devices()), ['home'])
  t.alike(names(again.registry.parcels()), ['desk'])
  t.alike(again.registry.parcelKey(id), key)
  t.alike(again.registry.cards(), cards, 'a clean restart changes neither log nor card')
  t.alike(again.problems, [])
})

test('devices see one another, whatever arrives first', async (t) => {
  const home = await first(t)
  const office = await admitted(t, home, 'office')
  t.ok(office.registry.admits(home.registry.identity.device.publicKey), 'the sponsor may connect')
  t.alike(office.registry.devices(), [], 'before anything arrived')
  const { id } = await office.registry.createParcel('desk')
  t.is(office.registry.parcelByName('desk')?.id.equals(id), true, 'own records count at once')

  const lab = await admitted(t, office, 'lab')
  await lab.registry.createParcel('bench')
  // Home learns of lab's records before the record that admits lab.
  for (const card of lab.registry.cards()) await home.registry.addCard(card)
  const labLog = lab.registry.registryLogs()[0].log
  await home.store.pull(lab.store, labLog)
  await settle()
  t.is(home.registry.waiting, 1)
  t.absent(home.registry.parcelByName('bench'), 'unknown authors do not count')

  await sync(home, office)
  await sync(home, lab)
  await sync(office, lab)
  for (const { registry, problems } of [home, office, lab]) {
    t.alike(names(registry.devices()), ['home', 'lab', 'office'])
    t.alike(names(registry.parcels()), ['bench', 'desk'])
    t.is(registry.waiting, 0)
    t.alike(problems, [])
  }
  t.is(lab.registry.nameOf(office.registry.identity.device.publicKey), 'office')
  t.alike(lab.registry.parcelKey(id), office.registry.parcelKey(id))
})

test('the key of a removed parcel stays: others may reference its logs', async (t) => {
  const home = await first(t)
  const { id, key } = await home.registry.createParcel('desk')
  const log = await home.store.current('parcel:desk')
  await home.registry.append(
    { kind: 'log', body: { parcel: id, log: log.key } },
    { kind: 'parcel-removed', body: { parcel: id } }
  )
  await home.registry.close()
  const again = await open(t, home.directory, home.store)
  t.is(again.registry.parcel(id), null)
  t.alike(again.registry.logOwner(log.key)?.parcel, id)
  t.alike(again.registry.parcelKey(id), key)
})

test('one name given twice while apart stays twice', async (t) => {
  const home = await first(t)
  const office = await admitted(t, home, 'office')
  await home.registry.createParcel('desk')
  await new Promise((resolve) => setTimeout(resolve, 5))
  await office.registry.createParcel('desk')
  await sync(home, office)
  await sync(home, office)
  for (const { registry } of [home, office]) {
    t.alike(names(registry.parcels()), ['desk', 'desk@office'])
  }
  await t.exception(home.registry.createParcel('desk@office'), /cannot be called/)
  await t.exception(home.registry.createParcel('desk'), /already/)
  const second = home.registry.parcelByName('desk@office')!
  await home.registry.renameParcel(second.id, 'table')
  await sync(home, office)
  t.alike(names(office.registry.parcels()), ['desk', 'table'])
})

test('how hard a parcel is compressed is known everywhere', async (t) => {
  const home = await first(t)
  const office = await admitted(t, home, 'office')
  const { id } = await home.registry.createParcel('desk', 9)
  await home.registry.createParcel('table')
  await sync(home, office)
  t.is(office.registry.parcelByName('desk')!.compressionLevel, 9)
  t.is(office.registry.parcelByName('table')!.compressionLevel, null)
  await new Promise((resolve) => setTimeout(resolve, 5))
  const level = (value: number) =>
    office.registry.append({ kind: 'parcel-compression', body: { parcel: id, level: value } })
  await level(1)
  await level(99)
  await sync(office, home)
  t.is(home.registry.parcel(id)!.compressionLevel, 1, 'the latest that there is')
})

test('a taken device name gets a number', async (t) => {
  const home = await first(t)
  const other = await admitted(t, home, 'home')
  t.is(other.registry.name, 'home-2')
})

test('after an unclean shutdown all own records move to the new log', async (t) => {
  const home = await first(t)
  const office = await admitted(t, home, 'office')
  await home.registry.createParcel('desk')
  await sync(home, office)
  const before = home.registry.registryLogs()[0].log
  await home.registry.close()

  const again = await open(t, home.directory, home.store.crash())
  const [own, former] = again.registry.registryLogs()
  t.unlike(own.log, before)
  t.alike(former.log, office.registry.registryLogs()[0].log, 'the card of the other one')
  t.ok(
    again.registry.registryLogs().some(({ log }) => log.equals(before)),
    'still read'
  )
  const log = again.store.logs.get(own.log.toString('hex'))!
  t.is(log.durableLength, 5, 'genesis, key epoch, device, key epoch, parcel')

  // Somebody who has only the new log sees all of it.
  const lab = await admitted(t, again, 'lab')
  t.is(log.durableLength, 7, 'two more, and nothing twice')
  await sync(again, lab)
  t.alike(names(lab.registry.parcels()), ['desk'])
  t.alike(names(lab.registry.devices()), ['home', 'lab', 'office'])
  await sync(again, office)
  t.alike(office.registry.registryLogs()[1].log, own.log, 'the newer card replaced the older')
})

test('what another device said stays known while its new log is not here', async (t) => {
  const home = await first(t)
  const office = await admitted(t, home, 'office')
  await home.registry.createParcel('desk')
  await sync(home, office)
  await home.registry.close()
  const again = await open(t, home.directory, home.store.crash())
  // Its card came, and then it was gone.
  t.ok(await office.registry.addCard(again.registry.cards()[0]))
  t.alike(names(office.registry.parcels()), ['desk'])
  await office.registry.close()
  const restarted = await open(t, office.directory, office.store)
  t.alike(names(restarted.registry.parcels()), ['desk'], 'after a restart too')
  t.alike(names(restarted.registry.devices()), ['home', 'office'])
})

test('a rolled-back home gets its own records back from a peer', async (t) => {
  const home = await first(t)
  const office = await admitted(t, home, 'office')
  await sync(home, office)
  const old = home.store.copy()
  await home.registry.createParcel('late')
  await sync(home, office)
  await home.registry.close()

  const again = await open(t, home.directory, old)
  t.absent(again.registry.parcelByName('late'))
  const before = again.registry.registryLogs()[0].log
  await old.pull(office.store, before)
  await settle()
  await again.registry.createParcel('newer')
  t.ok(again.registry.parcelByName('late'), 'came back')
  const now = again.registry.registryLogs()[0].log
  t.unlike(now, before, 'the log that a peer knew longer was left')
  const lab = await admitted(t, again, 'lab')
  await sync(again, lab)
  t.alike(names(lab.registry.parcels()), ['late', 'newer'], 'both are in the new log')
})

test('a retired log is left while appending goes on', async (t) => {
  const home = await first(t)
  const before = home.registry.registryLogs()[0].log
  const running = [...Array(10).keys()].map((i) => home.registry.createParcel(`p${i}`))
  await Promise.resolve()
  await home.store.retire(before)
  await Promise.all(running)
  await settle()
  t.unlike(home.registry.registryLogs()[0].log, before)
  const lab = await admitted(t, home, 'lab')
  await sync(home, lab)
  t.is(lab.registry.parcels().length, 10)
})

test('a failed flush fails the append, and the record may still count later', async (t) => {
  const home = await first(t)
  home.store.failure = Object.assign(new Error('no space left'), { code: 'ENOSPC' })
  await t.exception(home.registry.createParcel('desk'), /no space/)
  t.absent(home.registry.parcelByName('desk'))
  await home.registry.createParcel('desk')
  t.alike(names(home.registry.parcels()), ['desk'])
})

test('cards: forged, older and damaged ones change nothing', async (t) => {
  const home = await first(t)
  const office = await admitted(t, home, 'office')
  const [card] = office.registry.cards()
  const forged = Buffer.from(card)
  forged[forged.byteLength - 70] ^= 1
  await t.exception(home.registry.addCard(forged), /signature/)
  await t.exception(home.registry.addCard(card.subarray(0, 20)))
  await t.exception(home.registry.addCard(Buffer.alloc(100_000)), /too much/)
  t.is(await home.registry.addCard(card), true)
  t.is(await home.registry.addCard(card), false, 'known')

  const stranger = await first(t)
  await t.exception(home.registry.addCard(stranger.registry.cards()[0]), /signature/)
})

test('blocks that do not verify are reported and left out', async (t) => {
  const home = await first(t)
  const office = await admitted(t, home, 'office')
  await office.registry.createParcel('desk')
  await office.registry.createParcel('bench')
  const { log } = office.registry.registryLogs()[0]
  const stored = office.store.logs.get(log.toString('hex'))!
  const block = Buffer.from(stored.blocks.get(0)!)
  block[40] ^= 1
  stored.blocks.set(0, block)
  await sync(home, office)
  t.alike(home.problems, ['DATA_CORRUPT'])
  t.alike(names(home.registry.parcels()), ['bench'])
})

test('a stranger with the registry key admits nobody', async (t) => {
  const home = await first(t)
  const office = await admitted(t, home, 'office')
  const { fleet } = home.registry.identity
  const stranger = keyPair()
  const body = { publicKey: stranger.publicKey, name: 'mallory', role: 'device' as const }
  const record = signRecord(fleet, stranger, 1, { kind: 'device', body })
  const { FleetView } = await import('../../../lib/fleet/view.ts')
  const view = new FleetView(fleet, [])
  t.is(view.add(record), 'waiting')
  t.absent(view.members.admits(stranger.publicKey))
  record.record.time = 2
  await t.exception(async () =>
    view.add({ ...record, bytes: Buffer.from(record.bytes).fill(1, 40, 41) })
  )
  t.absent(office.registry.admits(stranger.publicKey))
})
