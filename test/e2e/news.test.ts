/** News of a device reach the others, also after its daemon was killed and goes on in another registry log. */
import test from 'brittle'
import { Fleet, type Device } from '../helpers/devices.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

test('a daemon that was killed is heard of again', { timeout: 180_000 }, async (t) => {
  if (!need(t, 'qemu', 'qemu-tools')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const office = await fleet.join(home, 'office')
  for (const name of ['one', 'two', 'three']) {
    await home.kill('daemon')
    await home.create(name, ['--size', '1M', '--memory', '64M'])
    await until(async () => (await office.parcel(name))?.['version'] === 1)
    t.pass(`${name}: made after a kill, and known to the other device`)
  }
  // The other way round: the one that was killed hears of what it missed.
  await home.kill('daemon')
  await office.create('four', ['--size', '1M', '--memory', '64M'])
  await home.ok(['ls'])
  await until(async () => (await home.parcel('four'))?.['version'] === 1)
  t.is(await holder(office, 'four'), 'office')
})

async function holder(device: Device, name: string): Promise<unknown> {
  return (await device.ok(['lease', name]))['holder']
}
