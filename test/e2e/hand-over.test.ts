/** suspend --to for a parcel that is suspended already, and what a device is told that does not have it. */
import test from 'brittle'
import { Fleet } from '../helpers/devices.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

test('the lease of a suspended parcel can still be given away', { timeout: 120_000 }, async (t) => {
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

  await home.ok(['daemon', 'stop'])
  const back = await office.ok(['suspend', 'disk', '--to', 'home'])
  t.is(back['lease_delivered'], false)
  t.is((await office.parcel('disk'))?.['elsewhere'], null, 'home cannot be asked')
  await until(async () => (await home.ok(['lease', 'disk']))['holder'] === 'home')
})
