/** A stick between two devices that do not meet. The real program, disks only. */
import { cp, mkdir, readFile, readdir, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { create, exported, random, write } from '../helpers/disk-versions.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2
const DISK_BYTES = 8 * MIB

test('what home wrote reaches the office by stick', { timeout: 600_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const office = await fleet.join(home, 'office')
  await create(fleet, home, DISK_BYTES)
  await until(async () => (await office.parcel('work')) !== null)
  await office.ok(['daemon', 'stop'])
  const second = await write(fleet, home, MIB, MIB) // the office knows the log of version 1

  const stick = path.join(fleet.directory, 'stick')
  const refused = await home.run(['lookaside', 'fill', stick, 'work'])
  t.is((refused.json['error'] as Json)['code'], 'PATH_UNUSABLE', 'there is no such folder')
  await mkdir(stick)
  const filled = await home.ok(['lookaside', 'fill', stick, 'work'])
  t.is(filled['version'], 2)
  t.ok(Number(filled['bytes']) >= DISK_BYTES, 'all of it is on the stick')
  t.is(filled['bytes_written'], filled['bytes'])
  await home.ok(['daemon', 'stop'])

  const nowhere = await office.run(['lookaside', 'add', path.join(fleet.directory, 'nowhere')])
  t.is((nowhere.json['error'] as Json)['code'], 'PATH_UNUSABLE', 'nothing is there')
  await office.ok(['lookaside', 'add', stick])
  await until(async () => (await office.parcel('work'))?.['version'] === 2)
  t.is(await exported(fleet, office, 'work'), second, 'with home switched off')
  const good = await row(office)
  t.is(good['state'], 'ready')
  t.alike(good['parcels'], [{ parcel: 'work', version: 2 }])
  t.ok(Number(good['bytes_used']) >= DISK_BYTES, 'it came from the stick')

  await rename(stick, `${stick}-away`)
  await until(async () => (await row(office))['state'] === 'absent')
  await rename(`${stick}-away`, stick)
  await until(async () => (await row(office))['state'] === 'ready')

  // The same with a stick that is broken: what it lacks comes from home.
  const broken = path.join(fleet.directory, 'broken')
  await cp(stick, broken, { recursive: true })
  const [part] = await files(broken)
  const bytes = await readFile(part)
  for (let at = MIB; at < bytes.byteLength; at += MIB) bytes[at] ^= 1
  await writeFile(part, bytes)
  await office.ok(['lookaside', 'remove', stick])
  await home.ok(['status'])
  await until(async () => (await office.online()).includes('home'))
  await office.ok(['evict', 'work', '--yes'])
  await home.ok(['daemon', 'stop'])
  await office.ok(['lookaside', 'add', broken])
  const alone = office.run(['export', 'work', path.join(fleet.directory, 'out-alone')])
  await until(async () => (await row(office))['state'] === 'damaged')
  await home.ok(['status'])
  await alone // it may have given up before home was there
  t.is(await exported(fleet, office, 'work'), second, 'a broken stick costs time only')
  t.ok(Number((await row(office))['hits']) > 0, 'the rest of it is used')
  t.is((await office.ok(['verify', 'work']))['bad'], 0)
})

async function row(device: Device): Promise<Json> {
  return ((await device.ok(['lookaside', 'ls']))['lookaside'] as Json[])[0]
}

/** Parts of the one folder on a stick. */
async function files(stick: string): Promise<string[]> {
  const found = await readdir(stick, { recursive: true })
  return found.filter((name) => name.includes('part-')).map((name) => path.join(stick, name))
}
