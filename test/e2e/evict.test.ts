/** evict gives the disk back and never drops the last copy; stats counts. Real devices, no VM. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import test from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { rawImage, sha256, tool } from '../helpers/images.ts'
import { Random } from '../helpers/random.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2
const DISK_BYTES = 48 * MIB
const random = new Random()

test('evict gives space back, except that of the last copy', { timeout: 300_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const data = random.bytes(DISK_BYTES)
  const file = await rawImage(path.join(fleet.directory, 'disk.img'), DISK_BYTES, [
    { offset: 0, data }
  ])
  const hash = await sha256(file)
  await home.create('work', ['--disk', file, '--memory', '64M'])
  t.is((await home.run(['evict', 'work'])).code, 7, 'asks')
  t.is((await evict(home)).error?.code, 'LAST_COPY', 'nobody else is there')
  const office = await fleet.join(home, 'office')
  await until(async () => (await office.parcel('work'))?.['version'] === 1)
  t.is((await evict(home)).error?.code, 'LAST_COPY', 'the other one has nothing')
  await office.ok(['create', 'copy', '--from', 'work']) // fetches all of it
  const serving = home.start(['serve', 'work'])
  await serving.first()
  t.is((await evict(home)).error?.code, 'PARCEL_RUNNING')
  await serving.interrupt()

  const before = await diskUsage(home)
  const evicted = await evict(home)
  t.is(evicted.code, 0, JSON.stringify(evicted.json))
  const freed = before - (await diskUsage(home))
  // RocksDB lays out up to 18 MiB of its next journal ahead, now or a moment later.
  t.ok(freed > DISK_BYTES / 2, `${freed} bytes are back, says du`)
  const said = Number(evicted.json['bytes_freed'])
  t.ok(said > DISK_BYTES / 2 && Math.abs(freed - said) < 20 * MIB, `and ${said} says evict`)
  t.is(evicted.json['bytes_missing'], DISK_BYTES)
  t.is((await home.parcel('work'))?.['bytes_local'], 0)
  t.is((await home.ok(['verify', 'work']))['bad'], 0)
  t.is((await evict(home)).json['blocks_dropped'], 0, 'nothing is left to drop')

  t.is(await exported(fleet, home), hash, 'it comes back when it is needed')
  t.is((await evict(office)).json['blocks_dropped'], 0, 'the clone needs all of it')
  await office.ok(['remove', 'copy', '--yes'])
  await until(() => held(office))
  const dropped = await evict(office)
  t.is(dropped.json['bytes_missing'], DISK_BYTES, JSON.stringify(dropped.json))
  t.is((await evict(home)).error?.code, 'LAST_COPY', 'the other one dropped it')

  // The device whose own log has holes goes on writing it.
  t.is(await exported(fleet, office), hash)
  await until(() => held(home)) // what arrived there is durable a moment later
  t.is((await evict(home)).code, 0)
  await home.ok(['daemon', 'stop'])
  await until(async () => (await home.online()).includes('office'))
  const written = await write(fleet, home)
  await until(async () => (await office.parcel('work'))?.['version'] === 2)
  t.is(await exported(fleet, office), written)
})

test('of two that evict at once, one keeps it', { timeout: 300_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const data = random.bytes(8 * MIB)
  const file = await rawImage(path.join(fleet.directory, 'disk.img'), 8 * MIB, [
    { offset: 0, data }
  ])
  await home.create('work', ['--disk', file, '--memory', '64M'])
  const office = await fleet.join(home, 'office')
  await until(async () => (await office.parcel('work'))?.['version'] === 1)
  for (let round = 0; round < 4; round++) {
    t.is(await exported(fleet, office), await sha256(file))
    t.is(await exported(fleet, home), await sha256(file))
    const runs = await Promise.all([evict(home), evict(office)])
    const refused = runs.filter(({ error }) => error?.code === 'LAST_COPY').length
    t.ok(refused >= 1, `${refused} refused`)
  }
})

test('what a prune left of a version is no copy of it', { timeout: 180_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const file = await rawImage(path.join(fleet.directory, 'disk.img'), 8 * MIB, [
    { offset: 0, data: random.bytes(8 * MIB) }
  ])
  await home.create('work', ['--disk', file, '--memory', '64M'])
  const written = await write(fleet, home)
  const pruned = await home.ok(['prune', 'work', '--keep', '1', '--yes'])
  t.alike([pruned['kept'], pruned['dropped'], pruned['only_copies']], [[2], [1], [1]])
  const again = await home.ok(['prune', 'work', '--keep', '1', '--yes'])
  t.alike([again['kept'], again['dropped']], [[2], []], 'nothing is dropped twice')
  const office = await fleet.join(home, 'office')
  await until(async () => (await office.parcel('work'))?.['version'] === 2)
  t.is((await evict(home)).error?.code, 'LAST_COPY')
  await home.ok(['suspend', 'work', '--wait-replicas', '1'])
  t.is((await evict(home)).code, 0, 'the other device has all that is left')
  t.is(await exported(fleet, home), written)
})

test('stats counts versions, deduplication and peers', { timeout: 120_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'qemu')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const empty = await home.ok(['stats'])
  t.alike([empty['versions'], empty['dedup_ratio'], empty['peers']], [0, null, []])
  const piece = random.bytes(4 * MIB)
  const file = await rawImage(path.join(fleet.directory, 'disk.img'), 16 * MIB, [
    { offset: 0, data: piece },
    { offset: 8 * MIB, data: piece }
  ])
  await home.create('work', ['--disk', file, '--memory', '64M'])
  await home.ok(['create', 'copy', '--from', 'work'])
  const work = await home.ok(['stats', 'work'])
  t.alike([work['versions'], work['bytes_total'], work['bytes_new']], [1, 8 * MIB, 4 * MIB])
  t.is(work['chunks_indexed'], 1024)
  const office = await fleet.join(home, 'office')
  await until(async () => (await office.parcel('work'))?.['version'] === 1)
  await exported(fleet, office)
  const all = await home.ok(['stats'])
  t.alike([all['parcel'], all['parcels'], all['versions'], all['dedup_ratio']], [null, 2, 2, 4])
  const [peer] = all['peers'] as Json[]
  t.is(peer['name'], 'office')
  t.ok(Number(peer['block_bytes_sent']) > 4 * MIB)
  t.is((await home.run(['stats', 'nothing'])).code, 3)
})

function evict(device: Device) {
  return device.run(['evict', 'work', '--yes'])
}

/** Does another device say that it has all of version 1? */
async function held(device: Device): Promise<boolean> {
  const { versions } = (await device.ok(['log', 'work'])) as { versions: Json[] }
  return versions[0]['replicas'] === 1
}

async function diskUsage(device: Device): Promise<number> {
  return Number((await tool('du', '-s', '-B1', path.join(device.home, 'store'))).split('\t')[0])
}

async function exported(fleet: Fleet, device: Device): Promise<string> {
  const out = path.join(fleet.directory, `out-${device.name}`)
  await device.ok(['export', 'work', out])
  return sha256(out)
}

/** A new version; the hash of the disk then. */
async function write(fleet: Fleet, device: Device): Promise<string> {
  const serving = device.start(['serve', 'work', '--writable'])
  const { volumes } = (await serving.first()) as { volumes: { disk0: string } }
  await promisify(execFile)('qemu-io', [
    ...['-f', 'raw', '-c', 'write -P 7 5M 300k'],
    volumes.disk0
  ])
  const file = path.join(fleet.directory, 'written')
  await tool('nbdcopy', volumes.disk0, file)
  const { code, stderr } = await serving.interrupt()
  if (code !== 0) throw new Error(`serve ended with ${code}: ${stderr}`)
  return sha256(file)
}
