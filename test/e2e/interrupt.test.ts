/** Ctrl-C while a command is under way: exit 130, nothing is lost or left behind, and the next command works. */
import path from 'node:path'
import { readdir } from 'node:fs/promises'
import test from 'brittle'
import { Fleet, type Json } from '../helpers/devices.ts'
import { rawImage, sha256 } from '../helpers/images.ts'
import type { Program } from '../helpers/program.ts'
import { Random } from '../helpers/random.ts'
import { need, type RequirementName } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const NEEDS: RequirementName[] = ['qemu', 'fuse', 'bubblewrap', 'apt-get', 'e2fsprogs']
const MIB = 1024 ** 2

test('Ctrl-C while images are read and written', { timeout: 180_000 }, async (t) => {
  if (!need(t, 'qemu', 'qemu-tools')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const data = new Random().bytes(64 * MIB)
  const image = await rawImage(path.join(fleet.directory, 'image'), 2 * data.length, [
    { offset: 0, data },
    { offset: data.length, data: data.map((byte) => byte ^ 0x55) as Buffer }
  ])
  await home.create('warm', ['--size', '1M', '--memory', '64M'])
  const create = ['create', 'disk', '--disk', image, '--memory', '64M']
  const idle = async () => ({
    parcels: ((await home.ok(['ls']))['parcels'] as Json[]).map(({ name }) => name),
    processes: [...home.processes('runner'), ...home.processes('qemu-img')],
    run: await readdir(path.join(home.home, 'run')),
    parts: (await readdir(fleet.directory)).filter((name) => name.endsWith('.part')),
    leftovers: await home.leftovers()
  })
  const before = await idle()

  const creating = home.start(create)
  await creating.saw('reading image')
  t.is((await creating.interrupt()).code, 130)
  t.is(((await home.ok(['ls']))['parcels'] as Json[]).length, 1, 'gone at once')
  await until(() => home.processes('runner').length === 0)
  t.alike(await idle(), before, 'no trace of the parcel')
  const killed = home.start(create)
  await killed.saw('reading image')
  killed.kill('SIGKILL')
  await until(() => home.processes('runner').length === 0)
  await until(async () => (await idle()).parcels.length === 1)
  t.alike(await idle(), before, 'nor when its terminal is gone')
  const crashed = home.start(create)
  await crashed.saw('reading image')
  await home.kill('daemon')
  t.is((await crashed.done).error?.code, 'DAEMON_GONE')
  t.alike(await idle(), before, 'nor after the daemon was killed')
  await home.ok(create)

  const out = path.join(fleet.directory, 'out')
  const exporting = home.start(['export', 'disk', out])
  await exporting.saw('writing out')
  t.is((await exporting.interrupt()).code, 130)
  await until(() => home.processes('runner').length === 0)
  t.alike(await idle(), { ...before, parcels: ['disk', 'warm'] })
  await home.ok(['export', 'disk', out])
  t.is(await sha256(out), await sha256(image))

  // The first Ctrl-C keeps what was written, the second one only leaves.
  const serving = home.start(['serve', 'disk', '--writable'])
  await serving.first()
  serving.kill('SIGTERM')
  t.is((await serving.done).code, 0)
  t.alike(await idle(), { ...before, parcels: ['disk', 'warm'] })
})

test(
  'Ctrl-C during a resume, a suspend, a checkpoint and a poweroff',
  { timeout: 240_000 },
  async (t) => {
    if (!need(t, ...NEEDS)) return
    const fleet = await Fleet.open(t)
    const home = await fleet.first()
    await home.createGuest('work')
    const state = async () => (await home.parcel('work'))?.['state']

    const booting = home.start(['resume', 'work'])
    await booting.saw('booting')
    await interrupted(booting)
    await until(async () => (await state()) === 'suspended' || (await state()) === 'running')
    t.comment(`after an interrupted boot: ${String(await state())}`)
    if ((await state()) !== 'running') await home.ok(['resume', 'work'])
    const guest = await home.console('work')
    await guest.run('head -c 8m /dev/urandom > /run/secret; echo kept > /root/kept; sync')
    const sum = await guest.run('md5sum /run/secret')

    for (const args of [
      ['suspend', 'work'],
      ['checkpoint', 'work'],
      ['suspend', 'work']
    ]) {
      const snapshot = home.start(args)
      await snapshot.saw('"phase"')
      const { code } = await interrupted(snapshot)
      t.comment(`${args[0]}: exit code ${code}`)
      await until(async () => (await state()) === 'running' || (await state()) === 'suspended')
      if ((await state()) === 'suspended') await home.ok(['resume', 'work'])
      t.is(await guest.run('md5sum /run/secret'), sum, `${args[0]}: nothing is lost`)
    }

    const off = home.start(['poweroff', 'work'])
    await off.saw('waiting for the guest')
    t.is((await off.interrupt()).code, 130)
    await until(async () => (await state()) === 'suspended')
    const { versions } = (await home.ok(['log', 'work'])) as { versions: Json[] }
    t.is(
      versions.at(-1)!['memory'],
      false,
      'a poweroff cannot be taken back: it goes on to its end'
    )
    t.is((await home.ok(['resume', 'work']))['booted'], true)
    t.is(await guest.run('cat /root/kept'), 'kept')
    await home.ok(['discard', 'work', '--yes'])
    t.alike(await home.leftovers(), [])
  }
)

test('Ctrl-C while devices wait for each other', { timeout: 120_000 }, async (t) => {
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const inviting = home.start(['invite'])
  await inviting.saw('waiting for the other device')
  t.is((await inviting.interrupt()).code, 130)
  const { invite } = await home.ok(['invite', '--no-wait'])
  await home.ok(['daemon', 'stop'])

  const office = fleet.device('office')
  const join = ['join', String(invite), '--name', 'office', '--bootstrap', fleet.bootstrap]
  const joining = office.start(join)
  await joining.saw('looking for the device')
  t.is((await joining.interrupt()).code, 130)
  t.is((await office.run(['ls'])).error?.code, 'NO_FLEET', 'it belongs to nobody')
  await home.ok(['ls'])
  await office.ok(join)
  const { devices } = (await home.ok(['devices'])) as { devices: Json[] }
  t.is(devices.length, 2)

  await home.create('disk', ['--size', '1M', '--memory', '64M'])
  await until(async () => (await office.parcel('disk'))?.['version'] === 1)
  await home.ok(['daemon', 'stop'])
  const resuming = office.start(['resume', 'disk'])
  await resuming.saw('looking for home')
  t.is((await resuming.interrupt()).code, 130)
  t.is((await office.parcel('disk'))?.['state'], 'elsewhere')
  t.alike(office.processes('runner'), [])
})

/** Either in time or too late: then it is done. */
async function interrupted(program: Program): Promise<{ code: number }> {
  const run = await program.interrupt()
  if (run.code !== 130 && run.code !== 0) throw new Error(`exit code ${run.code}: ${run.stdout}`)
  return run
}
