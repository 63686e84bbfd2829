/** Parcels and versions as a whole: rename, remove, clones, rollback. Real devices, no VM. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import test from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { rawImage, scattered, sha256, tool } from '../helpers/images.ts'
import { Random } from '../helpers/random.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2
const GIB = 1024 ** 3
const random = new Random()

test('a parcel is renamed and removed on all devices', { timeout: 120_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'qemu')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const office = await fleet.join(home, 'office')
  await home.create('work', ['--size', '1M', '--memory', '64M'])
  await home.create('other', ['--size', '1M', '--memory', '64M'])
  await until(async () => (await office.parcel('other')) !== null)
  t.is((await office.ok(['rename', 'work', 'play']))['parcel'], 'play')
  await until(async () => (await home.parcel('play')) !== null)
  t.is(await home.parcel('work'), null)
  t.is((await home.run(['rename', 'play', 'other'])).error?.code, 'PARCEL_EXISTS')
  t.is((await home.run(['rename', 'work', 'x'])).code, 3, 'the old name is free')
  t.is((await home.run(['rename', 'play', ''])).error?.code, 'NAME_INVALID')

  t.is((await home.run(['remove', 'play'])).code, 7, 'asks')
  const serving = home.start(['serve', 'play', '--writable'])
  await serving.first()
  t.is((await home.run(['remove', 'play', '--yes'])).error?.code, 'PARCEL_RUNNING')
  const elsewhere = await office.run(['remove', 'play', '--yes'])
  t.is(elsewhere.code, 4, 'in use on another device')
  await serving.interrupt()
  await office.ok(['remove', 'play', '--yes'])
  t.is(await office.parcel('play'), null)
  await until(async () => (await home.parcel('play')) === null)
  t.is((await home.run(['serve', 'play'])).code, 3)
  t.alike(await home.leftovers(), [])
  await home.create('play', ['--size', '1M', '--memory', '64M'])
  t.is((await home.parcel('play'))?.['version'], 1, 'the name is free again')
})

test('a clone costs nothing and outlives its source', { timeout: 240_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const file = await image(fleet, 64 * MIB)
  await home.create('work', ['--disk', file, '--memory', '64M', '--cpus', '2'])
  const first = await sha256(file)
  const second = await write(fleet, home, 'work')
  const before = await bytesStored(home)
  const made = await home.ok(['create', 'copy', '--from', 'work@1', '--memory', '96M'])
  t.alike([made['parcel'], made['version']], ['copy', 1])
  t.ok((await bytesStored(home)) - before < MIB, 'nothing is copied')
  const newest = await home.ok(['create', 'newest', '--from', 'work'])
  t.ok(Number(newest['bytes_stored']) < MIB)
  t.is(await exported(fleet, home, 'copy'), first, 'the version asked for')
  t.is(await exported(fleet, home, 'newest'), second, 'else the newest')
  const { parcel } = (await home.ok(['show', 'copy'])) as { parcel: { machine: Json } }
  t.alike([parcel.machine['memory_bytes'], parcel.machine['cpus']], [96 * MIB, 2])
  t.is((await home.run(['create', 'copy', '--from', 'work'])).error?.code, 'PARCEL_EXISTS')
  t.is((await home.run(['create', 'x', '--from', 'nothing'])).code, 3)
  t.is((await home.run(['create', 'x', '--from', 'work@9'])).code, 3)

  const copySecond = await write(fleet, home, 'copy')
  t.is(await exported(fleet, home, 'work'), second, 'what is written to the clone stays there')
  await home.ok(['remove', 'work', '--yes'])
  t.is(await exported(fleet, home, 'copy'), copySecond)

  // A device that joins afterwards, and has nothing, gets the clone with blocks of a removed parcel.
  const office = await fleet.join(home, 'office')
  await until(async () => (await office.parcel('copy'))?.['version'] === 2)
  t.is(await exported(fleet, office, 'copy', ['--version', '1']), first)
  const third = await write(fleet, office, 'copy')
  t.is(await exported(fleet, office, 'copy'), third)
  await home.ok(['daemon', 'stop'])
  await home.ok(['status'])
  t.is(await exported(fleet, home, 'newest'), second, 'after a restart too')
})

test('what a clone lacks here is fetched first', { timeout: 240_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const file = await image(fleet, 64 * MIB)
  await home.create('work', ['--disk', file, '--memory', '64M'])
  const office = await fleet.join(home, 'office')
  await until(async () => (await office.parcel('work'))?.['version'] === 1)
  const run = await office.run(['create', 'copy', '--from', 'work'])
  t.is(run.code, 0)
  t.ok(run.stderr.includes('fetching what is missing'), 'with progress')
  await home.ok(['daemon', 'stop'])
  t.is(await exported(fleet, office, 'copy'), await sha256(file), 'complete on its own')
})

test('a clone of a disk of 8 GiB takes less than a second', { timeout: 240_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const places = scattered(random, 8 * GIB, 4000)
  const file = await rawImage(path.join(fleet.directory, 'big.img'), 8 * GIB, places)
  await home.create('big', ['--disk', file, '--memory', '64M'])
  const before = await bytesStored(home)
  const times: number[] = []
  for (let i = 0; i < 3; i++) {
    const began = performance.now()
    await home.ok(['create', `copy${i}`, '--from', 'big'])
    times.push(Math.round(performance.now() - began))
  }
  const grown = (await bytesStored(home)) - before
  t.comment(`${times.join(', ')} ms each, ${grown} bytes for all`)
  t.ok(Math.min(...times) < 1000)
  t.ok(grown < 3 * MIB)
})

test('a rollback is a new version with old content', { timeout: 240_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const file = await image(fleet, 32 * MIB)
  await home.create('work', ['--disk', file, '--memory', '64M'])
  const first = await sha256(file)
  const second = await write(fleet, home, 'work')
  const office = await fleet.join(home, 'office')
  await until(async () => (await office.parcel('work'))?.['version'] === 2)

  t.is((await home.run(['rollback', 'work', '7'])).code, 3)
  t.is((await home.run(['rollback', 'work', 'x'])).code, 2)
  const serving = home.start(['serve', 'work', '--writable'])
  await serving.first()
  t.is((await home.run(['rollback', 'work', '1'])).error?.code, 'PARCEL_RUNNING')
  t.is((await office.run(['rollback', 'work', '1'])).code, 4, 'not without the lease')
  await serving.interrupt()

  t.is((await home.ok(['rollback', 'work', '1']))['version'], 3)
  t.is(await exported(fleet, home, 'work'), first)
  t.is(await exported(fleet, home, 'work', ['--version', '2']), second, 'the others stay')
  await until(async () => (await office.parcel('work'))?.['version'] === 3)
  t.is((await office.ok(['rollback', 'work', '2']))['version'], 4, 'takes the lease')
  t.is(await exported(fleet, office, 'work'), second)
  const third = await write(fleet, office, 'work')
  t.is(await exported(fleet, office, 'work'), third, 'it goes on from there')
  const { versions } = (await office.ok(['log', 'work'])) as { versions: Json[] }
  t.alike(
    versions.map((v) => [v['version'], v['parent'], v['device'], v['bytes_new'] === 0]),
    [
      [1, null, 'home', false],
      [2, 1, 'home', false],
      [3, 2, 'home', true],
      [4, 3, 'office', true],
      [5, 4, 'office', false]
    ]
  )
})

async function image(fleet: Fleet, sizeBytes: number): Promise<string> {
  const places = scattered(random, sizeBytes, 80)
  return rawImage(path.join(fleet.directory, 'disk.img'), sizeBytes, places)
}

/** Writes something new into the disk of a parcel, as a version; the hash of the disk then. */
async function write(fleet: Fleet, device: Device, parcel: string): Promise<string> {
  const serving = device.start(['serve', parcel, '--writable'])
  const { volumes } = (await serving.first()) as { volumes: { disk0: string } }
  const pattern = random.int(1, 255)
  await promisify(execFile)('qemu-io', [
    ...['-f', 'raw', '-c', `write -P ${pattern} ${random.int(0, 16) * MIB} 300k`],
    volumes.disk0
  ])
  const file = path.join(fleet.directory, `written-${parcel}`)
  await tool('nbdcopy', volumes.disk0, file)
  const { code } = await serving.interrupt()
  if (code !== 0) throw new Error(`serve ended with ${code}`)
  return sha256(file)
}

async function exported(fleet: Fleet, device: Device, parcel: string, more: string[] = []) {
  const file = path.join(fleet.directory, `${device.name}-${parcel}`)
  await device.ok(['export', parcel, file, ...more])
  return sha256(file)
}

async function bytesStored(device: Device): Promise<number> {
  return Number((await device.ok(['status']))['bytes_stored'])
}
