/** Images and directories that lie nearby, instead of bytes from the other device. The real program, disks only. */
import { mkdir, open, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { create, exported, random } from '../helpers/disk-versions.ts'
import { tool } from '../helpers/images.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2
const DISK_BYTES = 16 * MIB
/** Whole seconds: a test can put it back. */
const TIME = new Date('2026-01-02T03:04:05Z')

test('a disk comes out of what lies nearby', { timeout: 600_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const office = await fleet.join(home, 'office')
  const whole = await create(fleet, home, DISK_BYTES)
  await until(async () => (await office.parcel('work'))?.['version'] === 1)

  const nothing = await office.run(['lookaside', 'add', path.join(fleet.directory, 'nothing')])
  const refusal = nothing.json['error'] as Json
  t.is(refusal['code'], 'PATH_UNUSABLE')
  t.ok(refusal['hint'])

  const raw = path.join(fleet.directory, 'disk.img')
  const qcow2 = path.join(fleet.directory, 'disk.qcow2')
  await tool('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2)
  const folder = path.join(fleet.directory, 'files')
  await cut(raw, folder)
  for (const seed of [raw, qcow2, folder]) {
    const added = await office.ok(['lookaside', 'add', seed])
    t.is(added['state'], 'ready')
    t.is(added['kind'], seed === folder ? 'directory' : 'image')
    const fetched = await during(office, async () => {
      t.is(await exported(fleet, office, 'work'), whole, path.basename(seed))
    })
    const used = await row(office)
    t.ok(fetched < DISK_BYTES / 10, `${fetched} bytes fetched`)
    t.ok(Number(used['bytes_used']) > DISK_BYTES * 0.9, `${String(used['bytes_used'])} from there`)
    t.comment(`${path.basename(seed)}: ${fetched} bytes fetched for ${DISK_BYTES}`)
    await office.ok(['lookaside', 'remove', seed])
  }

  // What is wrong, cut off or gone comes from home, and only that.
  const bad = path.join(fleet.directory, 'bad.img')
  await writeFile(bad, await readFile(raw))
  await utimes(bad, TIME, TIME)
  await office.ok(['lookaside', 'add', bad])
  await flip(bad, [MIB, 2 * MIB, 3 * MIB + 4096])
  await utimes(bad, TIME, TIME)
  const flipped = await during(office, async () => {
    t.is(await exported(fleet, office, 'work'), whole, 'bytes that are wrong')
  })
  t.ok(flipped >= 3 * 64 * 1024 && flipped < DISK_BYTES / 5, `${flipped} bytes fetched`)

  await truncate(bad, DISK_BYTES / 2)
  const stopped = exported(fleet, office, 'work')
  t.is(await stopped, whole, 'a file that was cut off')
  t.is((await office.ok(['lookaside', 'add', bad]))['state'], 'ready', 'indexed anew')
  await office.ok(['evict', 'work', '--yes'])
  await office.ok(['lookaside', 'add', folder])
  const running = exported(fleet, office, 'work')
  await rm(folder, { recursive: true })
  t.is(await running, whole, 'files that vanish meanwhile')

  await office.ok(['lookaside', 'remove', bad])
  await office.ok(['lookaside', 'remove', folder])
  await office.ok(['evict', 'work', '--yes'])
  const without = await during(office, async () => {
    t.is(await exported(fleet, office, 'work'), whole)
  })
  t.ok(without > DISK_BYTES * 0.9)
  t.comment(`without: ${without} bytes fetched`)
})

/** Bytes that came from other devices meanwhile: blocks, and ids. */
async function during(device: Device, work: () => Promise<void>): Promise<number> {
  const before = await fetchedBytes(device)
  await work()
  return (await fetchedBytes(device)) - before
}

async function fetchedBytes(device: Device): Promise<number> {
  const { sources } = (await device.ok(['stats'])) as { sources: Json[] }
  return sources
    .filter(({ kind }) => kind !== 'lookaside')
    .reduce((sum, source) => sum + Number(source['bytes_received']), 0)
}

async function row(device: Device): Promise<Json> {
  return ((await device.ok(['lookaside', 'ls']))['lookaside'] as Json[])[0]
}

/** Into files of two folders, as a guest's file system would have them. */
async function cut(image: string, folder: string): Promise<void> {
  await mkdir(path.join(folder, 'more'), { recursive: true })
  const data = await readFile(image)
  for (let at = 0; at < data.byteLength; at += MIB) {
    const name = path.join(folder, at % (2 * MIB) === 0 ? 'more' : '.', `file${at}`)
    await writeFile(name, data.subarray(at, at + MIB))
  }
}

async function flip(file: string, places: number[]): Promise<void> {
  const handle = await open(file, 'r+')
  try {
    for (const place of places) {
      const byte = Buffer.alloc(1)
      await handle.read(byte, 0, 1, place)
      await handle.write(Buffer.from([byte[0] ^ 1]), 0, 1, place)
    }
  } finally {
    await handle.close()
  }
}
