/** prune forgets old versions and gives the disk back, and nothing that is kept is harmed. Real devices, no VM. */
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import test from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { rawImage, sha256, tool } from '../helpers/images.ts'
import { Random } from '../helpers/random.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2
const DISK_BYTES = 32 * MIB
const random = new Random()

test('prune gives back what no version needs', { timeout: 300_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const hashes = [await create(fleet, home)]
  await home.ok(['create', 'copy', '--from', 'work@1'])
  // Version 2 is new all over, 3 in the first half, 4 in the first quarter.
  for (const bytes of [32, 16, 8]) hashes.push(await write(fleet, home, 0, bytes * MIB))

  const refused = await home.run(['prune', 'work', '--keep', '2'])
  t.alike([refused.code, refused.error?.code], [7, 'CONFIRM'])
  t.ok(/version 2 .* only copy/.test(refused.error!.message), refused.error?.message)
  t.is((await home.run(['prune', 'work', '--keep', '0', '--yes'])).code, 2)
  const plan = await home.ok(['prune', 'work', '--keep', '2', '--dry-run'])
  t.alike(
    [plan['kept'], plan['dropped'], plan['only_copies'], plan['bytes_freed']],
    [[3, 4], [2], [2], 0],
    'version 1 loses nothing: the clone needs all of it'
  )
  const before = await diskUsage(home)
  const pruned = await home.ok(['prune', 'work', '--keep', '2', '--yes'])
  const freed = before - (await diskUsage(home))
  t.comment(
    `${before} bytes before, ${freed} came back, ${String(pruned['bytes_expected'])} expected`
  )
  // Of version 2, only the half that version 3 wrote anew goes; version 1 is in the clone.
  t.ok(freed > 15.5 * MIB && freed < 18 * MIB, `${freed} bytes are back, says du`)
  t.ok(Math.abs(freed - Number(pruned['bytes_freed'])) < MIB, 'and so does prune')
  t.ok(Math.abs(freed - Number(plan['bytes_expected'])) < 2 * MIB, 'as it said before')

  t.is(await exported(fleet, home, 'work'), hashes[3])
  t.is(await exported(fleet, home, 'work', ['--version', '3']), hashes[2])
  t.is(await exported(fleet, home, 'copy'), hashes[0], 'a clone of a version that was pruned')
  t.is((await home.ok(['verify']))['bad'], 0)
  const { versions } = (await home.ok(['log', 'work'])) as { versions: Json[] }
  t.alike(
    versions.map((v) => [v['version'], v['bytes_local'] === v['bytes_total']]),
    [
      [1, true],
      [2, false],
      [3, true],
      [4, true]
    ],
    'all versions are listed'
  )
  t.is((await home.ok(['prune', 'work', '--keep', '2', '--yes']))['blocks_dropped'], 0)

  await home.ok(['remove', 'copy', '--yes'])
  const again = await home.ok(['prune', 'work', '--keep', '1', '--yes'])
  t.alike(again['dropped'], [1, 3])
  t.ok(Number(again['bytes_freed']) > 39 * MIB, 'with what only the removed clone needed')
  t.is(await exported(fleet, home, 'work'), hashes[3])
  hashes.push(await write(fleet, home, 20 * MIB, MIB))
  t.is(await exported(fleet, home, 'work'), hashes[4], 'it goes on')
  t.is((await home.ok(['verify']))['bad'], 0)
})

test(
  'a device that was away gets the newest version from one that pruned',
  { timeout: 300_000 },
  async (t) => {
    if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
    t.comment(`seed ${random.seed}`)
    const fleet = await Fleet.open(t)
    const home = await fleet.first()
    const hashes = [await create(fleet, home)]
    const office = await fleet.join(home, 'office')
    await until(async () => (await office.parcel('work'))?.['version'] === 1)
    t.is(await exported(fleet, office, 'work'), hashes[0])
    await until(async () => (await replicas(home, 1)) === 1)
    await office.ok(['daemon', 'stop'])
    for (let i = 0; i < 3; i++) hashes.push(await write(fleet, home, 0, 24 * MIB))
    const plan = await home.ok(['prune', 'work', '--keep', '1', '--dry-run'])
    t.alike(plan['only_copies'], [2, 3], 'the other one has version 1')
    await home.ok(['prune', 'work', '--keep', '1', '--yes'])
    t.is(await exported(fleet, home, 'work'), hashes[3])
    await home.ok(['daemon', 'stop'])

    t.is(
      await exported(fleet, office, 'work', ['--version', '1']),
      hashes[0],
      'it keeps what it has'
    )
    await home.ok(['status'])
    await until(async () => (await office.parcel('work'))?.['version'] === 4)
    t.is(await exported(fleet, office, 'work'), hashes[3])
    // It continues the parcel, on a log whose old blocks nobody has any more.
    const written = await write(fleet, office, 4 * MIB, 4 * MIB)
    await until(async () => (await home.parcel('work'))?.['version'] === 5)
    t.is(await exported(fleet, home, 'work'), written)
    await office.ok(['prune', 'work', '--keep', '1', '--yes'])
    t.is(await exported(fleet, office, 'work'), written)
    for (const device of [home, office]) t.is((await device.ok(['verify']))['bad'], 0)
  }
)

async function create(fleet: Fleet, device: Device): Promise<string> {
  const file = await rawImage(path.join(fleet.directory, 'disk.img'), DISK_BYTES, [
    { offset: 0, data: random.bytes(DISK_BYTES) }
  ])
  await device.create('work', ['--disk', file, '--memory', '64M'])
  return sha256(file)
}

/** A new version, with new data there; the hash of the disk then. */
async function write(fleet: Fleet, device: Device, offset: number, bytes: number): Promise<string> {
  const data = path.join(fleet.directory, 'data')
  await writeFile(data, random.bytes(bytes))
  const serving = device.start(['serve', 'work', '--writable'])
  const { volumes } = (await serving.first()) as { volumes: { disk0: string } }
  const command = `write -s ${data} ${offset} ${bytes}`
  await promisify(execFile)('qemu-io', ['-f', 'raw', '-c', command, volumes.disk0])
  const file = path.join(fleet.directory, 'written')
  await tool('nbdcopy', volumes.disk0, file)
  const { code, stderr } = await serving.interrupt()
  if (code !== 0) throw new Error(`serve ended with ${code}: ${stderr}`)
  return sha256(file)
}

async function exported(
  fleet: Fleet,
  device: Device,
  name: string,
  more: string[] = []
): Promise<string> {
  const out = path.join(fleet.directory, `out-${device.name}`)
  await device.ok(['export', name, out, ...more])
  return sha256(out)
}

async function replicas(device: Device, version: number): Promise<number> {
  const { versions } = (await device.ok(['log', 'work'])) as { versions: Json[] }
  return Number(versions.find((v) => v['version'] === version)?.['replicas'])
}

async function diskUsage(device: Device): Promise<number> {
  return Number((await tool('du', '-s', '-B1', path.join(device.home, 'store'))).split('\t')[0])
}
