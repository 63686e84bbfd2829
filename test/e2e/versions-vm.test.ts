/** A clone boots as a machine of its own; a rollback to a version with memory resumes there. */
import test from 'brittle'
import { Fleet } from '../helpers/devices.ts'
import { testGuest } from '../helpers/guest.ts'
import { sha256 } from '../helpers/images.ts'
import { need } from '../helpers/requirements.ts'

test('a rollback resumes in the past, a clone boots', { timeout: 300_000 }, async (t) => {
  if (!need(t, 'qemu', 'fuse', 'root')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  await home.createGuest('work', '96M')
  await home.ok(['resume', 'work'])
  const console = await home.console('work')
  await console.ready()
  await console.run('echo one > /tmp/count; sync')
  t.is((await home.ok(['suspend', 'work']))['version'], 2)
  await home.ok(['resume', 'work'])
  const later = await home.console('work')
  await later.run('echo two > /tmp/count')
  t.is((await home.run(['rollback', 'work', '2'])).error?.code, 'PARCEL_RUNNING')
  t.is((await home.run(['remove', 'work', '--yes'])).error?.code, 'PARCEL_RUNNING')
  t.is((await home.ok(['verify', 'work']))['bad'], 0, 'verify works beside the VM')
  const images = ['1', '2'].map((version) => ({
    version,
    file: `${fleet.directory}/${version}.raw`
  }))
  await Promise.all(
    images.map(({ version, file }) => home.ok(['export', 'work', file, '--version', version]))
  )
  t.is(await sha256(images[0].file), await sha256((await testGuest()).disk), 'so does export')
  t.is((await home.ok(['suspend', 'work']))['version'], 3)

  t.is((await home.ok(['rollback', 'work', '2']))['version'], 4)
  const resumed = await home.ok(['resume', 'work'])
  t.alike([resumed['version'], resumed['booted']], [4, false])
  const back = await home.console('work')
  t.ok((await back.run('cat /tmp/count')).includes('one'), 'its memory is that of version 2')
  const mac = 'cat /sys/class/net/*/address'
  const own = await back.run(mac)
  await home.ok(['suspend', 'work'])

  await home.ok(['create', 'copy', '--from', 'work'])
  const booted = await home.ok(['resume', 'copy'])
  t.alike([booted['version'], booted['booted']], [1, true])
  const clone = await home.console('copy')
  await clone.ready()
  t.not(await clone.run(mac), own, 'another network address')
})

test('prune beside a running VM', { timeout: 300_000 }, async (t) => {
  if (!need(t, 'qemu', 'fuse', 'root')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  await home.createGuest('work', '96M')
  await home.ok(['resume', 'work'])
  const console = await home.console('work')
  await console.ready()
  // In place: what a version had there, no later one needs.
  const fill = (file: string, mib: number) =>
    `dd if=/dev/urandom of=${file} bs=1M count=${mib} conv=notrunc 2> /dev/null; sync`
  for (let version = 2; version <= 4; version++) {
    await console.run(`${fill('/root/data', 6)}; ${fill('/tmp/ram', 12)}`)
    t.is((await home.ok(['checkpoint', 'work']))['version'], version)
  }
  const sums = 'echo 3 > /proc/sys/vm/drop_caches; md5sum /root/data /tmp/ram /bin/busybox'
  const before = await console.run(sums)
  const pruned = await home.ok(['prune', 'work', '--keep', '1', '--yes'])
  t.alike(
    [pruned['kept'], pruned['dropped']],
    [
      [1, 4],
      [2, 3]
    ],
    'version 1 is in version 4 still'
  )
  t.ok(Number(pruned['bytes_freed']) > 20 * 1024 ** 2, `${String(pruned['bytes_freed'])} bytes`)
  t.is(await console.run(sums), before, 'the guest reads on')
  await console.run('echo after > /root/after; sync')
  t.is((await home.ok(['suspend', 'work']))['version'], 5)
  t.is((await home.ok(['verify', 'work']))['bad'], 0)
  await home.ok(['prune', 'work', '--keep', '1', '--yes'])
  t.is((await home.ok(['resume', 'work']))['booted'], false)
  const later = await home.console('work')
  t.is(await later.run(sums), before)
  t.is(await later.run('cat /root/after'), 'after')
})
