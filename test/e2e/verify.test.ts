/** verify and repair, on real devices whose files were damaged while nobody used them. */
import { open, readdir } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { rawImage, scattered, sha256 } from '../helpers/images.ts'
import { Random } from '../helpers/random.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2
const random = new Random()

test('damage is found, and repaired from a peer', { timeout: 240_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const file = path.join(fleet.directory, 'disk.img')
  await rawImage(file, 64 * MIB, scattered(random, 64 * MIB, 100))
  await home.create('work', ['--disk', file, '--memory', '64M'])
  const clean = await home.ok(['verify', 'work'])
  t.alike([clean['bad'], clean['repaired'], clean['missing']], [0, 0, 0])
  t.ok(Number(clean['checked']) > 20 && Number(clean['bytes_checked']) > MIB)
  t.is((await home.run(['verify', 'nothing'])).code, 3)
  t.is((await home.run(['verify', 'work', '--version', '2'])).code, 3)
  t.is((await home.ok(['verify']))['checked'], clean['checked'], 'all parcels')

  await home.ok(['create', 'other', '--size', '1M', '--memory', '64M'])
  await damage(home, 6)
  const found = await home.run(['verify', 'work'])
  t.is(found.code, 6)
  t.is(found.error?.code, 'DATA_CORRUPT')
  const bad = Number(found.json['bad'])
  t.ok(bad > 0 && bad <= 6, `${bad} blocks are bad`)
  t.comment(JSON.stringify((found.json['found'] as Json[])[0]))
  t.alike(found.json['bad_versions'], [{ parcel: 'work', version: 1 }])
  await home.ok(['daemon', 'stop'])
  const { bad_versions: shown } = (await home.ok(['show', 'work']))['parcel'] as Json
  t.is((shown as Json[])[0]?.['version'], 1, 'show remembers it')
  const read = await home.run(['export', 'work', `${file}.damaged`])
  t.not(read.code, 0, 'nobody reads wrong data')
  const alone = await home.run(['verify', '--repair'])
  t.alike([alone.code, alone.json['bad'], alone.json['repaired']], [6, bad, 0], 'nobody has copies')
})

test('bad blocks are fetched again', { timeout: 240_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const file = path.join(fleet.directory, 'disk.img')
  await rawImage(file, 64 * MIB, scattered(random, 64 * MIB, 100))
  await home.create('work', ['--disk', file, '--memory', '64M'])
  const office = await fleet.join(home, 'office')
  await until(async () => (await office.parcel('work'))?.['version'] === 1)
  await office.ok(['create', 'copy', '--from', 'work']) // so that it has all of it
  const partly = await office.ok(['verify', 'work'])
  t.is(partly['bad'], 0)

  for (const device of [home, office]) {
    await damage(device, 4)
    const other = device === home ? office : home
    await until(async () => (await device.online()).includes(other.name))
    const run = await device.run(['verify', 'work', '--repair'])
    t.is(run.code, 0, JSON.stringify(run.json))
    t.ok(Number(run.json['repaired']) > 0, `${device.name} was repaired`)
    const again = await device.ok(['verify', 'work'])
    t.alike([again['bad'], again['missing']], [0, 0])
    t.alike(((await device.ok(['show', 'work']))['parcel'] as Json)['bad_versions'], [])
    const out = path.join(fleet.directory, `out-${device.name}`)
    await device.ok(['export', 'work', out])
    t.is(await sha256(out), await sha256(file))
  }
})

/** Flips bytes in the files of a device's store that hold blocks, while it is off. */
async function damage(device: Device, count: number): Promise<void> {
  await device.ok(['daemon', 'stop'])
  await until(() => Promise.resolve(device.processes('daemon').length === 0))
  const directory = path.join(device.home, 'store', 'cores', 'db')
  const blobs = (await readdir(directory)).filter((name) => name.endsWith('.blob'))
  const largest = { name: '', size: 0 }
  for (const name of blobs) {
    const file = await open(path.join(directory, name))
    const { size } = await file.stat()
    if (size > largest.size) Object.assign(largest, { name, size })
    await file.close()
  }
  const file = await open(path.join(directory, largest.name), 'r+')
  const byte = Buffer.alloc(1)
  for (let i = 0; i < count; i++) {
    const at = random.int(4096, largest.size - 4096)
    await file.read(byte, 0, 1, at)
    byte[0] ^= 0x55
    await file.write(byte, 0, 1, at)
  }
  await file.close()
}
