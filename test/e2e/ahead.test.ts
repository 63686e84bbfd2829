/** What a running guest changed and left alone is stored ahead of the suspend, and nothing depends on it. */
import test from 'brittle'
import { Fleet, type Device } from '../helpers/devices.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2

test('chunks are stored ahead, through kills and a prune', { timeout: 300_000 }, async (t) => {
  if (!need(t, 'qemu', 'fuse', 'root')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  await home.createGuest('work', '96M')
  await home.ok(['resume', 'work'])
  const console = await home.console('work')
  await console.ready()
  const fill = (file: string, mib: number) =>
    console.run(`dd if=/dev/urandom of=${file} bs=1M count=${mib} 2> /dev/null; sync`)
  await fill('/root/one', 12)
  await until(async () => (await aheadBytes(home)) >= 12 * MIB)

  await home.kill('daemon')
  await fill('/root/two', 6)
  const sums = 'echo 3 > /proc/sys/vm/drop_caches; md5sum /root/one /root/two'
  const before = await console.run(sums)
  await until(async () => (await aheadBytes(home)) >= 18 * MIB)
  // Sweeps what the first daemon stored: the suspend stores it again.
  await home.ok(['prune', 'work', '--keep', '1', '--yes'])

  const suspended = await home.ok(['suspend', 'work'])
  t.ok(Number(suspended['bytes_new']) >= 18 * MIB, `${String(suspended['bytes_new'])} bytes new`)
  t.ok(Number(suspended['bytes_stored']) >= 18 * MIB, 'all of them were stored for it')
  t.is((await home.ok(['verify', 'work']))['bad'], 0)
  t.is((await home.ok(['resume', 'work']))['booted'], false)
  const later = await home.console('work')
  t.is(await later.run(sums), before)
  t.ok((await aheadBytes(home)) < 12 * MIB, 'it begins anew')
})

async function aheadBytes(device: Device): Promise<number> {
  const { running } = (await device.ok(['stats'])) as { running: { ahead_bytes: number }[] }
  return running[0]?.ahead_bytes ?? 0
}
