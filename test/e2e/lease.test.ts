/** One writer: what a second device is told, how the lease goes over, and that of two that ask at once one gets it. */
import test, { type Assert } from 'brittle'
import { Fleet, type Device } from '../helpers/devices.ts'
import type { ProgramRun } from '../helpers/program.ts'
import { need, type RequirementName } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const NEEDS: RequirementName[] = ['qemu', 'fuse', 'bubblewrap', 'apt-get', 'e2fsprogs']

test('a parcel runs on one device at a time', { timeout: 300_000 }, async (t) => {
  if (!need(t, ...NEEDS)) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const office = await fleet.join(home, 'office')
  await home.createGuest('work')
  await until(async () => (await office.parcel('work'))?.['version'] === 1)
  await home.ok(['resume', 'work'])
  const atHome = await home.console('work')
  await atHome.run('echo made at home > /run/note')

  held(t, await office.run(['resume', 'work']), /home runs work/, /--handoff/)
  held(t, await office.run(['serve', 'work', '--writable']), /home runs work/, /--handoff/)
  const row = await office.parcel('work')
  t.alike([row?.['state'], row?.['elsewhere']], ['elsewhere', 'running'])
  t.alike(await nothing(office), [], 'a refusal leaves nothing')
  t.is(await atHome.run('cat /run/note'), 'made at home', 'nor does it disturb')

  const taken = await office.ok(['resume', 'work', '--handoff'])
  t.alike([taken['booted'], taken['version']], [false, 2])
  const atOffice = await office.console('work')
  t.is(await atOffice.run('cat /run/note'), 'made at home')
  t.alike(await nothing(home), [], 'home let go of it')
  held(t, await home.run(['resume', 'work']), /office runs work/, /--handoff/)
  await atOffice.run('echo made at the office > /run/note')

  // Granted in advance, home may be off meanwhile.
  await until(() => whole(office))
  await home.ok(['daemon', 'stop'])
  const away = await office.ok(['suspend', 'work', '--to', 'home'])
  t.is(away['lease_delivered'], false)
  held(
    t,
    await office.run(['resume', 'work']),
    /home holds the lease.*not online/,
    /Start the daemon on home/
  )
  await until(async () => (await home.parcel('work'))?.['version'] === 3)
  const back = await home.ok(['resume', 'work'])
  t.alike([back['booted'], back['version']], [false, 3])
  t.is(await atHome.run('cat /run/note'), 'made at the office')
  t.is((await home.ok(['lease', 'work']))['holder'], 'home')

  const delivered = await home.ok(['suspend', 'work', '--to', 'office', '--wait-replicas', '0'])
  t.is(delivered['lease_delivered'], true)
  t.is((await office.ok(['lease', 'work']))['state'], 'granted')
  held(t, await home.run(['resume', 'work', '--offline']), /office/, /./)

  // With everything fetched the first device may be off.
  await office.ok(['resume', 'work', '--fetch', 'all'])
  await until(() => whole(office))
  await office.ok(['suspend', 'work'])
  await home.ok(['daemon', 'stop'])
  const alone = await office.ok(['resume', 'work', '--offline'])
  t.alike([alone['booted'], alone['version']], [false, 5])
  t.is(await atOffice.run('cat /run/note'), 'made at the office', 'offline')

  held(t, await home.run(['resume', 'work']), /office runs work/, /--handoff/)
  await office.ok(['daemon', 'stop'])
  held(
    t,
    await home.run(['resume', 'work']),
    /office holds the lease.*not online/,
    /Start the daemon on office/
  )
  t.is(
    await atOffice.run('cat /run/note'),
    'made at the office',
    'the VM knows nothing of all this'
  )
  await office.ok(['suspend', 'work'])
})

test('of two devices that resume at once one wins', { timeout: 240_000 }, async (t) => {
  if (!need(t, ...NEEDS)) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const office = await fleet.join(home, 'office')
  const lab = await fleet.join(home, 'lab')
  await home.createGuest('work', '128M')
  const devices = [home, office, lab]
  for (const other of devices)
    await until(async () => (await other.parcel('work'))?.['version'] === 1)
  // The holder itself is the fastest, so the second time it does not ask.
  for (const [round, racers] of [devices, [office, lab]].entries()) {
    const runs = await Promise.all(racers.map((device) => device.run(['resume', 'work'])))
    const codes = runs.map(({ code }) => code)
    t.alike(
      codes.toSorted((a, b) => a - b),
      [0, ...racers.slice(1).map(() => 4)],
      `round ${round}: ${codes.join(' ')}`
    )
    for (const run of runs) if (run.code === 4) held(t, run, /work|lease/, /./)
    const winner = racers[codes.indexOf(0)]
    t.comment(`${winner.name} won`)
    await (await winner.console('work')).ready()
    await winner.ok(['suspend', 'work'])
    for (const device of devices) {
      t.alike(await nothing(device), [])
      await until(async () => (await device.parcel('work'))?.['version'] === round + 2)
    }
  }
})

function held(t: Assert, run: ProgramRun, message: RegExp, hint: RegExp): void {
  t.alike([run.code, run.error?.code], [4, 'LEASE_HELD'], JSON.stringify(run.json))
  t.ok(message.test(run.error?.message ?? ''), run.error?.message)
  t.ok(hint.test(run.error?.hint ?? ''), run.error?.hint)
}

/** All of the newest version is stored there. */
async function whole(device: Device): Promise<boolean> {
  const row = await device.parcel('work')
  return row !== null && row['bytes_local'] === row['bytes_total']
}

/** What a device that does not run it must not have. */
async function nothing(device: Device): Promise<unknown[]> {
  await until(() => device.processes('runner').length === 0)
  return [...device.mounts(), ...device.processes('qemu'), ...(await device.leftovers())]
}
