/** A disk that is full: refused in time, paused, never corrupted. The home lies on a small file system of its own. */
import { execFile } from 'node:child_process'
import { mkdir, rm, statfs } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import test from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { rawImage } from '../helpers/images.ts'
import { keptOverlay } from '../helpers/kept-overlay.ts'
import { Random } from '../helpers/random.ts'
import { need, type RequirementName } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const NEEDS: RequirementName[] = ['root', 'qemu', 'fuse', 'bubblewrap', 'apt-get', 'e2fsprogs']
const MIB = 1024 ** 2
const run = promisify(execFile)

test('create on a full disk', { timeout: 120_000 }, async (t) => {
  if (!need(t, 'root', 'qemu', 'qemu-tools')) return
  const fleet = await Fleet.open(t)
  const home = await deviceOn(fleet, 96)
  await home.create('small', ['--size', '1M', '--memory', '64M'])
  const random = new Random()
  const places = Array.from({ length: 40 }, (_, i) => ({
    offset: i * 4 * MIB,
    data: random.bytes(4 * MIB)
  }))
  const image = await rawImage(path.join(fleet.directory, 'image'), 160 * MIB, places)
  const full = await home.run(['create', 'big', '--disk', image, '--memory', '64M'])
  t.alike([full.code, full.error?.code], [1, 'DISK_FULL'], JSON.stringify(full.json))
  t.ok(full.error?.hint, full.error?.hint)
  const { parcels } = (await home.ok(['ls'])) as { parcels: Json[] }
  t.alike(
    parcels.map(({ name }) => name),
    ['small']
  )
  t.alike(home.processes('runner'), [])
  await grow(home, 400)
  await home.create('big', ['--disk', image, '--memory', '64M'])
  const out = path.join(fleet.directory, 'out')
  await home.ok(['export', 'big', out])
  await run('cmp', [image, out])
  t.pass('with room it works, byte for byte')
})

test(
  'a disk that fills up is told of, with what pruning gives back',
  { timeout: 180_000 },
  async (t) => {
    if (!need(t, 'root', 'qemu', 'qemu-tools', 'nbd-tools')) return
    const fleet = await Fleet.open(t)
    const home = await deviceOn(fleet, 1000)
    const random = new Random()
    const file = path.join(fleet.directory, 'image')
    await rawImage(file, 24 * MIB, [{ offset: 0, data: random.bytes(24 * MIB) }])
    const created = await home.create('work', ['--disk', file, '--memory', '64M'])
    t.is(created['low_space'], undefined, 'there is room')
    await rawImage(file, 24 * MIB, [{ offset: 0, data: random.bytes(24 * MIB) }])
    const serving = home.start(['serve', 'work', '--writable'])
    const { volumes } = (await serving.first()) as { volumes: { disk0: string } }
    await run('nbdcopy', [file, volumes.disk0])
    t.is((await serving.interrupt()).code, 0)
    await fill(home, 90)
    const { low_space: low } = (await home.ok(['status'])) as { low_space?: Json }
    t.is(low?.['command'], 'hyperparcel prune work --keep 1')
    const prunable = Number(low?.['bytes_prunable'])
    t.ok(prunable > 24 * MIB && prunable < 26 * MIB, `${prunable} bytes`)
    const small = await home.create('small', ['--size', '1M', '--memory', '64M'])
    t.ok(small['low_space'], 'create tells it too')
    const pruned = await home.ok(['prune', 'work', '--keep', '1', '--yes'])
    t.ok(Math.abs(Number(pruned['bytes_freed']) - prunable) < 2 * MIB, 'it was right')
    t.is((await home.ok(['status']))['low_space'], undefined, 'there is room again')
    await fill(home, 50)
    const still = (await home.ok(['status'])) as { low_space?: Json }
    t.alike([still.low_space?.['command'], still.low_space?.['bytes_prunable']], [null, 0])
    t.is((await home.ok(['verify']))['bad'], 0)
  }
)

test('a disk that fills up before and within a commit', { timeout: 180_000 }, async (t) => {
  if (!need(t, 'root', 'qemu', 'qemu-tools', 'nbd-tools')) return
  const fleet = await Fleet.open(t)
  const home = await deviceOn(fleet, 300)
  const random = new Random()
  const file = path.join(fleet.directory, 'image')
  const out = path.join(fleet.directory, 'out')
  await rawImage(file, 24 * MIB, [{ offset: 0, data: random.bytes(24 * MIB) }])
  await home.create('work', ['--disk', file, '--memory', '64M'])
  const data = random.bytes(24 * MIB)
  const written = path.join(fleet.directory, 'written')
  await rawImage(written, data.length, [{ offset: 0, data }])
  const write = async (freeMib: number | null) => {
    const serving = home.start(['serve', 'work', '--writable'])
    const { volumes } = (await serving.first()) as { volumes: { disk0: string } }
    await run('nbdcopy', ['--flush', written, volumes.disk0])
    if (freeMib !== null) await fill(home, freeMib)
    return serving.interrupt()
  }
  // Not enough room to begin with, and enough for a part.
  for (const freeMib of [2, 24]) {
    const failed = await write(freeMib)
    t.alike([failed.code, failed.error?.code], [1, 'DISK_FULL'], JSON.stringify(failed.json))
    t.is((await home.ok(['verify']))['bad'], 0)
    await home.ok(['export', 'work', out])
    await run('cmp', [file, out])
    await rm(path.join(home.home, 'fill'))
    for (const kind of ['daemon', 'runner'] as const) await home.kill(kind)
    const kept = await keptOverlay(home, 0, data.length)
    t.ok(kept.equals(data), 'the version is as it was, and nothing that was flushed is lost')
    await home.ok(['discard', 'work', '--yes'])
  }
  t.is((await write(null)).json['version'], 2, 'with room it works')
  await home.ok(['export', 'work', out])
  await run('cmp', [written, out])
  t.is((await home.ok(['verify']))['bad'], 0)
})

test('a VM on a disk that fills up', { timeout: 240_000 }, async (t) => {
  if (!need(t, ...NEEDS)) return
  const fleet = await Fleet.open(t)
  const home = await deviceOn(fleet, 256)
  // Random data at hand: a guest without KVM makes it slowly.
  const data = new Random().bytes(80 * MIB)
  const source = await rawImage(path.join(fleet.directory, 'source'), data.length, [
    { offset: 0, data }
  ])
  await grow(home, 700)
  await home.createGuest('work', '128M', ['--disk', source])
  await fill(home, 150)
  const refused = await home.run(['resume', 'work'])
  t.alike([refused.code, refused.error?.code], [1, 'DISK_FULL'])
  const missing = Number(refused.error?.context?.['missing_bytes'])
  t.ok(missing > 0, `${refused.error?.message}: ${refused.error?.hint}`)
  t.alike(await home.leftovers(), [])
  await fill(home, 150 + Math.ceil(missing / MIB) + 48) // the store still writes what was created
  await home.ok(['resume', 'work'])
  t.pass('what it says is missing is enough')

  const guest = await home.console('work')
  await guest.run('head -c 48m /dev/urandom > /run/ram', { timeoutMs: 90_000 })
  await guest.run('echo before > /root/kept; sync')
  await fill(home, 100)
  const writing = guest.run('cat /dev/vdb > /root/copy; sync; dmesg | grep -c "I/O error"; true', {
    timeoutMs: 120_000
  })
  await until(async () => (await home.parcel('work'))?.['state'] === 'paused')
  t.pass('the VM pauses')

  await fill(home, 0)
  const failed = await home.run(['suspend', 'work'])
  t.alike([failed.code, failed.error?.code], [1, 'DISK_FULL'], JSON.stringify(failed.json))
  t.ok(failed.error?.hint, failed.error?.hint)
  const row = await home.parcel('work')
  t.alike([row?.['state'], row?.['version']], ['paused', 1], 'as it was')

  await rm(path.join(home.home, 'fill'))
  await grow(home, 1500)
  await until(async () => (await home.parcel('work'))?.['state'] === 'running')
  t.is(await writing, '0', 'the guest goes on and saw no error')
  await guest.run('echo 3 > /proc/sys/vm/drop_caches')
  await guest.run('cmp /dev/vdb /root/copy', { timeoutMs: 60_000 })
  const ram = await guest.run('md5sum /run/ram', { timeoutMs: 60_000 })

  t.is((await home.ok(['suspend', 'work']))['version'], 2, 'with room it is suspended')
  t.alike(await home.leftovers(), [])
  t.is((await home.ok(['resume', 'work']))['booted'], false)
  t.is(await guest.run('md5sum /run/ram', { timeoutMs: 60_000 }), ram)
  await guest.run('cmp /dev/vdb /root/copy', { timeoutMs: 60_000 })
  t.is(await guest.run('cat /root/kept'), 'before')
  await home.ok(['discard', 'work', '--yes'])
})

async function deviceOn(fleet: Fleet, sizeMib: number): Promise<Device> {
  const home = path.join(fleet.directory, 'home')
  await mkdir(home, { mode: 0o700 })
  await run('mount', ['-t', 'tmpfs', '-o', `size=${sizeMib}m,mode=700`, 'tmpfs', home])
  const device = fleet.device('home', home)
  await device.ok(['init', '--name', 'home', '--bootstrap', fleet.bootstrap])
  return device
}

/** As if somebody had removed other files. */
async function grow(home: Device, sizeMib: number): Promise<void> {
  await run('mount', ['-o', `remount,size=${sizeMib}m`, home.home])
}

/** Somebody else's file takes all but that much. */
async function fill(home: Device, leaveMib: number): Promise<void> {
  const file = path.join(home.home, 'fill')
  await rm(file, { force: true })
  const { bavail, bsize } = await statfs(home.home)
  const bytes = bavail * bsize - leaveMib * MIB
  if (bytes > 0) await run('fallocate', ['-l', String(bytes), file])
}
