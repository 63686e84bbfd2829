/** prune forgets old versions and gives the disk back, and nothing that is kept is harmed. Real devices, no VM. */
import { randomBytes } from 'node:crypto'
import { copyFile } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import { FAULT_POINTS } from '../../lib/base/fault-point.ts'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { create, diskUsage, exported, random, write, writeAt } from '../helpers/disk-versions.ts'
import { rawImage, sha256, tool } from '../helpers/images.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2

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
    [[1, 3, 4], [2], [2], 0],
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

  t.ok(Number((await home.ok(['remove', 'copy', '--yes']))['bytes_freed']) < MIB, 'not its own')
  const again = await home.ok(['prune', 'work', '--keep', '1', '--yes'])
  t.alike(again['dropped'], [1, 3])
  t.ok(Number(again['bytes_freed']) > 39 * MIB, 'with what only the removed clone needed')
  t.is(await exported(fleet, home, 'work'), hashes[3])
  hashes.push(await write(fleet, home, 20 * MIB, MIB))
  t.is(await exported(fleet, home, 'work'), hashes[4], 'it goes on')
  t.is((await home.ok(['verify']))['bad'], 0)

  await home.ok(['create', 'last', '--from', 'work'])
  t.ok(Number((await home.ok(['remove', 'work', '--yes']))['bytes_freed']) < 10 * MIB)
  t.is(await exported(fleet, home, 'last'), hashes[4], 'a clone outlives its source')
  t.ok(Number((await home.ok(['remove', 'last', '--yes']))['bytes_freed']) > 32 * MIB)
  t.ok((await diskUsage(home)) < 8 * MIB, 'nothing is left')
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

test('prune beside commits, exports and clones', { timeout: 300_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const first = await create(fleet, home)
  for (const bytes of [32, 24]) await write(fleet, home, 0, bytes * MIB)
  const old = path.join(fleet.directory, 'old')
  await home.ok(['export', 'work', old, '--version', '1'])

  // What is open stays, whatever its number.
  const serving = home.start(['serve', 'work', '--version', '1'])
  const { volumes } = (await serving.first()) as { volumes: { disk0: string } }
  const pruned = await home.ok(['prune', 'work', '--keep', '1', '--yes'])
  t.alike([pruned['kept'], pruned['dropped']], [[1, 3], [2]])
  await tool('nbdcopy', volumes.disk0, old)
  t.is(await sha256(old), first, 'an old version that is being served')
  await serving.interrupt()

  // Another parcel is made of the same data while the version that has it goes.
  const hash = await write(fleet, home, 0, 32 * MIB)
  await copyFile(path.join(fleet.directory, 'written'), old)
  await write(fleet, home, 0, 32 * MIB)
  const big = await rawImage(path.join(fleet.directory, 'big'), 96 * MIB, [
    { offset: 0, data: randomBytes(96 * MIB) }
  ])
  const creating = home.start(['create', 'copy', '--disk', old, '--disk', big, '--memory', '64M'])
  await creating.saw('reading big')
  await home.kill('runner', 'SIGSTOP')
  const beside = await home.ok(['prune', 'work', '--keep', '1', '--yes'])
  t.ok((beside['dropped'] as number[]).includes(4), 'maps and all that the commit has not found')
  await home.kill('runner', 'SIGCONT')
  const { code, json } = await creating.done
  t.is(code, 0, JSON.stringify(json))
  t.is(await exported(fleet, home, 'copy'), hash)
  const { versions } = (await home.ok(['log', 'copy'])) as { versions: Json[] }
  t.is(versions[0]['bytes_new'], 96 * MIB, 'nothing of it was stored anew')
  await home.ok(['prune', 'work', '--keep', '1', '--yes'])
  t.is((await home.ok(['verify']))['bad'], 0)
})

test(
  'killed anywhere, prune harms nothing, and the next one goes on',
  { timeout: 400_000 },
  async (t) => {
    if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
    t.comment(`seed ${random.seed}`)
    const fleet = await Fleet.open(t)
    const home = await fleet.first()
    await create(fleet, home)
    await home.ok(['create', 'copy', '--from', 'work@1'])
    await write(fleet, home, 0, 12 * MIB)
    // Every other segment of version 2 goes.
    const places = Array.from({ length: 96 }, (_, i) => i * 2 * 65_536)
    const newest = await writeAt(fleet, home, places, 65_536)
    const before = await diskUsage(home)
    for (const point of FAULT_POINTS.prune) {
      for (const count of [1, 2]) {
        if (count === 2 && (point === 'decided' || point === 'swept')) continue // passed once
        await home.ok(['daemon', 'stop'])
        const killed = await home.run(['prune', 'work', '--keep', '1', '--yes'], {
          env: { HYPERPARCEL_TEST_KILL_AT: `${point}:${count}` }
        })
        t.is(killed.error?.code, 'DAEMON_GONE', `killed at ${point}, ${count}`)
        const checked = await home.ok(['verify'])
        t.is(checked['bad'], 0, 'verify is clean')
        const { versions } = (await home.ok(['log', 'work'])) as { versions: Json[] }
        const { bytes_local: local, bytes_total: total } = versions.at(-1)!
        t.is(local, total, 'the version that stays is whole')
      }
    }
    await home.ok(['prune', 'work', '--keep', '1', '--yes'])
    const freed = before - (await diskUsage(home))
    t.ok(freed > 4 * MIB, `${freed} bytes are back`)
    t.is(await exported(fleet, home, 'work'), newest)
    t.is((await home.ok(['prune', 'work', '--keep', '1', '--yes']))['blocks_dropped'], 0)
    t.is((await home.ok(['verify']))['bad'], 0)
  }
)

async function replicas(device: Device, version: number): Promise<number> {
  const { versions } = (await device.ok(['log', 'work'])) as { versions: Json[] }
  return Number(versions.find((v) => v['version'] === version)?.['replicas'])
}
