/** suspend --to for a parcel that is suspended already, and what a device is told that does not have it. */
import test from 'brittle'
import { Fleet, type Device } from '../helpers/devices.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

test('the lease of a suspended parcel can still be given away', { timeout: 300_000 }, async (t) => {
  if (!need(t, 'qemu')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const office = await fleet.join(home, 'office')
  await home.create('disk', ['--size', '1M', '--memory', '64M'])
  await until(async () => (await office.parcel('disk'))?.['version'] === 1)

  const given = await home.ok(['suspend', 'disk', '--to', 'office'])
  t.is(given['already_suspended'], true)
  t.alike(
    [given['version'], given['bytes_new'], given['lease_delivered']],
    [1, 0, true],
    'nothing new, but delivered'
  )
  t.alike((await office.ok(['lease', 'disk']))['holder'], 'office')
  const row = await home.parcel('disk')
  t.alike([row?.['state'], row?.['elsewhere']], ['elsewhere', 'suspended'], 'office says so')
  const { versions } = await home.ok(['log', 'disk'])
  t.is((versions as unknown[]).length, 1, 'no new version')

  for (const verb of ['suspend', 'checkpoint', 'poweroff', 'console']) {
    const { code, error } = await home.run([verb, 'disk'])
    t.alike([code, error?.code], [1, 'PARCEL_NOT_RUNNING'], verb)
    t.ok(error?.message.includes('office has its lease'), error?.message)
    t.ok(error?.hint?.includes(`there: \`hyperparcel ${verb} disk\``), error?.hint)
    t.ok(
      error?.hint?.includes(`hyperparcel --home ${home.home} resume disk --handoff`),
      error?.hint
    )
  }
  const { error } = await home.run(['discard', 'disk', '--yes'])
  t.ok(error?.hint?.includes('there: `hyperparcel discard disk`'), error?.hint)
  t.absent(error?.hint?.includes('--handoff'), error?.hint)

  // Given up while its VM is being made: the lease goes back, unless it runs by then.
  const resuming = home.start(['resume', 'disk'])
  await resuming.saw('booting')
  t.is((await resuming.interrupt()).code, 130)
  const after = await home.parcel('disk')
  if (after?.['state'] === 'running') await home.ok(['suspend', 'disk', '--to', 'office'])
  else t.alike([after?.['state'], after?.['holder']], ['elsewhere', 'office'], 'given back')
  await until(async () => (await office.ok(['lease', 'disk']))['holder'] === 'office')

  await home.ok(['daemon', 'stop'])
  const back = await office.ok(['suspend', 'disk', '--to', 'home'])
  t.is(back['lease_delivered'], false)
  t.is((await office.parcel('disk'))?.['elsewhere'], null, 'home cannot be asked')
  await until(async () => (await home.ok(['lease', 'disk']))['holder'] === 'home')
})

test('what was granted is fetched, so that its author may go', { timeout: 300_000 }, async (t) => {
  if (!need(t, 'qemu')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const office = await fleet.join(home, 'office')
  await home.createGuest('work', '64M')

  const many = await home.run(['suspend', 'work', '--to', 'office', '--wait-replicas', '2'])
  t.alike([many.code, many.error?.code], [2, 'USAGE'], 'there is one other device')
  t.is((await home.ok(['lease', 'work']))['holder'], 'home', 'and nothing was done')

  const waiting = home.start(['suspend', 'work', '--to', 'office', '--wait-replicas', '1'])
  await waiting.saw('sending to office')
  const { code, json } = await waiting.done
  t.alike([code, json['replicas']], [0, 1], 'returns when office holds all of it')
  t.is(await missing(office, 'work'), 0)

  // Nobody waits for this one; the other device fetches it all the same.
  await home.createGuest('later', '64M')
  await until(async () => (await office.parcel('later'))?.['version'] === 1)
  t.not(await missing(office, 'later'), 0)
  const copied = await home.ok(['suspend', 'later', '--wait-replicas', '1'])
  t.alike([copied['already_suspended'], copied['replicas']], [true, 1], 'a copy, without the lease')
  t.is((await home.ok(['lease', 'later']))['holder'], 'home')
  await office.ok(['evict', 'later', '--yes'])
  const typo = await office.run(['resume', 'later', '--version', '7'])
  t.alike([typo.code, typo.error?.code], [3, 'VERSION_NOT_FOUND'])
  t.is((await home.ok(['lease', 'later']))['holder'], 'home', 'a typing error moves no lease')
  await home.ok(['suspend', 'later', '--to', 'office'])
  await until(async () => (await missing(office, 'later')) === 0)
  const again = await home.ok(['suspend', 'later', '--to', 'office', '--wait-replicas', '1'])
  t.alike([again['lease_delivered'], again['replicas']], [true, 1], 'said again, to wait')
  await home.ok(['hoard', 'later', '--follow'])
  await home.kill('daemon')
  const resumed = await office.ok(['resume', 'later', '--offline'])
  t.is(resumed['booted'], true, 'its author is off')
  await office.ok(['checkpoint', 'later'])
  await office.ok(['suspend', 'later'])

  // When it is back, what was made without a network comes by itself.
  await until(async () => (await home.parcel('later'))?.['version'] === 3)
  await until(async () => (await missing(home, 'later')) === 0)
})

test(
  'a resume that cannot have its data says whom to switch on',
  { timeout: 400_000 },
  async (t) => {
    if (!need(t, 'qemu')) return
    const fleet = await Fleet.open(t)
    const home = await fleet.first()
    const office = await fleet.join(home, 'office')
    await home.createGuest('state', '64M')
    await home.ok(['resume', 'state'])
    await home.ok(['suspend', 'state', '--to', 'office', '--wait-replicas', '1'])
    await office.ok(['evict', 'state', '--yes']) // its record and maps stay
    await home.createGuest('record', '64M')
    await until(async () => (await office.parcel('record'))?.['version'] === 1)
    t.not(await missing(office, 'state'), 0, 'nobody fetches what the user dropped')
    await home.ok(['suspend', 'record', '--to', 'office'])
    await home.kill('daemon')
    await until(async () => !(await office.online()).includes('home'))

    const given = office.start(['resume', 'state'])
    await given.saw('home is not online')
    t.is((await given.interrupt()).code, 130, 'one may give up')
    t.alike(office.processes('qemu'), [])
    t.alike(await office.leftovers(), [])

    const runs = await Promise.all(['state', 'record'].map((name) => office.run(['resume', name])))
    for (const { code, error } of runs) {
      t.alike([code, error?.code], [5, 'DATA_UNREACHABLE'], error?.message)
      t.ok(error?.message.includes('made by home'), 'who made it')
      t.ok(error?.hint?.startsWith('Not online: home.'), error?.hint)
    }
    t.alike(office.processes('runner'), [])
    t.alike(await office.leftovers(), [], 'nothing is left of the attempts')

    await home.ok(['ls'])
    const { booted } = await office.ok(['resume', 'state'])
    t.is(booted, false, 'it continues when its data is there')
    await office.ok(['suspend', 'state'])
  }
)

/** Bytes of the newest version that are not stored on that device. */
async function missing(device: Device, parcel: string): Promise<number> {
  const row = await device.parcel(parcel)
  return Number(row?.['bytes_total']) - Number(row?.['bytes_local'])
}
