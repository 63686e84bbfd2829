/** prune rewrites segments that are mostly dead, and nothing that is kept is harmed. Real devices, no VM. */
import path from 'node:path'
import test from 'brittle'
import { FAULT_POINTS } from '../../lib/base/fault-point.ts'
import { damage, files } from '../helpers/damage/stored-files.ts'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { create, diskUsage, exported, random, write, writeAt } from '../helpers/disk-versions.ts'
import { sha256, tool } from '../helpers/images.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2
const KIB = 1024
/** Of 64 segments. */
const SMALL_BYTES = 4 * MIB
const SEGMENTS = SMALL_BYTES / (64 * KIB)

test('devices that have one map, the other, or both', { timeout: 200_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  await create(fleet, home, SMALL_BYTES)
  const sparse = await scatter(fleet, home)
  const office = await fleet.join(home, 'office')
  await until(async () => (await office.parcel('work'))?.['version'] === 2)
  t.is(await exported(fleet, office, 'work'), sparse, 'fetched as it was made')
  const pruned = await home.ok(['prune', 'work', '--keep', '1', '--yes'])
  t.is(pruned['segments_rewritten'], SEGMENTS)

  // Nobody else has what was written anew, but the same content in its first places.
  await home.ok(['daemon', 'stop'])
  for (const file of await files(home, 'store', /\.blob$/)) await damage(file, 128 * KIB)
  await until(async () => (await home.online()).includes('office'))
  const repaired = await home.run(['verify', '--repair'])
  t.alike([repaired.code, repaired.json['bad']], [0, 0])
  t.ok(Number(repaired.json['repaired']) > 10)
  t.is(await exported(fleet, home, 'work'), sparse)
  const rewritten = await home.ok(['prune', 'work', '--keep', '1', '--yes'])
  t.is(rewritten['segments_rewritten'], SEGMENTS, 'again')
  t.is(await exported(fleet, office, 'work'), sparse, 'who has the first map reads by it')
  await office.ok(['daemon', 'stop'])

  const lab = await fleet.join(home, 'lab')
  await until(async () => (await lab.parcel('work'))?.['version'] === 2)
  t.is(await exported(fleet, lab, 'work'), sparse, 'who has nothing reads by the map that is there')
  t.alike(await checked(lab), [0, 0])
  await until(async () => (await replicas(home, 2)) === 1)
  await home.ok(['evict', 'work', '--yes'])
  t.is((await home.parcel('work'))?.['bytes_local'], 0)
  await lab.ok(['daemon', 'stop'])
  await office.ok(['status'])
  await until(async () => (await home.online()).includes('office'))
  t.is(await exported(fleet, home, 'work'), sparse, 'who dropped its own reads by the first one')

  // Versions go on in both directions.
  const third = await write(fleet, office, 64 * KIB, 128 * KIB)
  await until(async () => (await home.parcel('work'))?.['version'] === 3)
  t.is(await exported(fleet, home, 'work'), third)
  const fourth = await write(fleet, home, 512 * KIB, 128 * KIB)
  await until(async () => (await lab.parcel('work'))?.['version'] === 4)
  t.is(await exported(fleet, lab, 'work'), fourth)
  await lab.ok(['prune', 'work', '--keep', '1', '--yes'])
  t.is(await exported(fleet, lab, 'work'), fourth)
  t.is((await lab.ok(['verify']))['bad'], 0)
})

test(
  'prune rewrites segments that are mostly dead, once and again',
  { timeout: 200_000 },
  async (t) => {
    if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
    t.comment(`seed ${random.seed}`)
    const fleet = await Fleet.open(t)
    const home = await fleet.first()
    await create(fleet, home, 2 * SMALL_BYTES)
    // Half of each segment of version 1 is left.
    const places = Array.from({ length: 2 * SEGMENTS }, (_, i) => i * 64 * KIB)
    const second = await writeAt(fleet, home, places, 32 * KIB)
    await home.ok(['create', 'copy', '--from', 'work'])

    // What is open is read by the map that it was opened by.
    const serving = home.start(['serve', 'work'])
    const { volumes } = (await serving.first()) as { volumes: { disk0: string } }
    const beside = await home.ok(['prune', 'work', '--keep', '1', '--yes'])
    t.is(beside['segments_mostly_dead'], 0)
    const out = path.join(fleet.directory, 'out')
    await tool('nbdcopy', volumes.disk0, out)
    t.is(await sha256(out), second)
    await serving.interrupt()
    const plan = await home.ok(['prune', 'work', '--keep', '1', '--dry-run'])
    t.alike([plan['segments_mostly_dead'], plan['segments_rewritten']], [2 * SEGMENTS, 0])
    const full = await diskUsage(home)
    const pruned = await home.ok(['prune', 'work', '--keep', '1', '--yes'])
    t.alike([pruned['segments_rewritten'], pruned['maps_reissued']], [2 * SEGMENTS, 2])
    const back = full - (await diskUsage(home))
    t.ok(back > 3.8 * MIB && back < 4.5 * MIB, `${back} bytes are back, says du`)
    t.ok(Math.abs(back - Number(pruned['bytes_freed'])) < MIB, 'and so does prune')
    t.ok(Math.abs(back - Number(plan['bytes_expected'])) < MIB, 'as it said before')
    for (const name of ['work', 'copy']) t.is(await exported(fleet, home, name), second)
    const { versions } = (await home.ok(['log', 'work'])) as { versions: Json[] }
    t.alike(
      versions.map((v) => v['bytes_local'] === v['bytes_total']),
      [false, true]
    )
    t.is((await home.ok(['prune', 'work', '--keep', '1', '--yes']))['blocks_dropped'], 0)

    // Moved chunks are found where they are now, in versions made of what was moved too.
    const written = path.join(fleet.directory, 'written')
    await home.create('again', ['--disk', written, '--memory', '64M'])
    t.alike(await newBytes(home, 'again'), [0])
    const third = await writeAt(
      fleet,
      home,
      places.map((place) => place + 32 * KIB),
      16 * KIB
    )
    await home.ok(['create', 'late', '--from', 'work'])
    t.is((await home.ok(['rollback', 'work', '2']))['version'], 4)
    t.is(await exported(fleet, home, 'work'), second)
    t.is(await exported(fleet, home, 'work', ['--version', '3']), third)
    t.is((await home.ok(['verify']))['bad'], 0)

    // Of what was packed, half is left.
    for (const name of ['copy', 'again']) await home.ok(['remove', name, '--yes'])
    t.is((await home.ok(['rollback', 'work', '3']))['version'], 5)
    const before = await diskUsage(home)
    const packed = await home.ok(['prune', 'work', '--keep', '1', '--yes'])
    t.is(packed['segments_rewritten'], SEGMENTS, 'what was packed is packed again')
    t.is(packed['maps_reissued'], 2)
    const freed = before - (await diskUsage(home))
    t.ok(freed > 1.8 * MIB && freed < 2.5 * MIB, `${freed} bytes are back, says du`)
    for (const name of ['work', 'late']) t.is(await exported(fleet, home, name), third)
    t.is((await home.ok(['verify']))['bad'], 0)
    await home.ok(['remove', 'work', '--yes'])
    t.is(await exported(fleet, home, 'late'), third, 'a clone outlives its source')
    t.ok(Number((await home.ok(['remove', 'late', '--yes']))['bytes_freed']) > 7 * MIB)
    t.is((await home.ok(['stats']))['chunks_indexed'], 0, 'nothing is left')
  }
)

test(
  'killed anywhere, rewriting harms nothing, and the next prune goes on',
  { timeout: 200_000 },
  async (t) => {
    if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
    t.comment(`seed ${random.seed}`)
    const fleet = await Fleet.open(t)
    const home = await fleet.first()
    await create(fleet, home, SMALL_BYTES)
    const sparse = await scatter(fleet, home)
    const before = await diskUsage(home)
    // The first prune ends while it writes anew, the next ones while they sweep what was there before.
    await home.ok(['daemon', 'stop'])
    for (const point of [...FAULT_POINTS.repack, 'decided', 'cleared', 'swept']) {
      const env = { HYPERPARCEL_TEST_KILL_AT: point }
      t.alike(await checked(home, env), [0, 0], 'the version that stays is whole')
      const killed = await home.run(['prune', 'work', '--keep', '1', '--yes'])
      const code = killed.error?.code ?? ''
      t.ok(['DAEMON_GONE', 'RUNNER_GONE'].includes(code), `killed at ${point}: ${code}`)
      if (code === 'RUNNER_GONE') await home.ok(['daemon', 'stop'])
    }
    t.alike(await checked(home), [0, 0])
    await home.ok(['prune', 'work', '--keep', '1', '--yes'])
    const freed = before - (await diskUsage(home))
    // A megabyte of what was cleared may stay for the next time.
    t.ok(freed > 2.3 * MIB, `${freed} bytes are back`)
    t.is(await exported(fleet, home, 'work'), sparse)
    const again = await home.ok(['prune', 'work', '--keep', '1', '--yes'])
    t.alike([again['blocks_dropped'], again['segments_rewritten']], [0, 0])
  }
)

/** Of version 2: bad blocks, missing ones. */
async function checked(device: Device, env: Record<string, string> = {}): Promise<unknown[]> {
  const found = await device.ok(['verify', 'work', '--version', '2'], { env })
  return [found['bad'], found['missing']]
}

async function newBytes(device: Device, name: string): Promise<unknown[]> {
  const { versions } = (await device.ok(['log', name])) as { versions: Json[] }
  return versions.map((v) => v['bytes_new'])
}

/** A version that has 28 of each 32 KiB new: of the segments of version 1, two chunks are left. */
function scatter(fleet: Fleet, device: Device): Promise<string> {
  const places = Array.from({ length: SMALL_BYTES / (32 * KIB) }, (_, i) => i * 32 * KIB)
  return writeAt(fleet, device, places, 28 * KIB)
}

async function replicas(device: Device, version: number): Promise<number> {
  const { versions } = (await device.ok(['log', 'work'])) as { versions: Json[] }
  return Number(versions.find((v) => v['version'] === version)?.['replicas'])
}
