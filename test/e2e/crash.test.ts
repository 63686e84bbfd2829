/** Processes that are killed while a VM runs: the guest goes on where it can, and what it flushed is never lost. */
import { readFile, readdir } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import { Fleet, type Device } from '../helpers/devices.ts'
import { need, type RequirementName } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const NEEDS: RequirementName[] = ['qemu', 'fuse', 'bubblewrap', 'apt-get', 'e2fsprogs']
const TIMEOUT = { timeout: 240_000 }

test('a killed daemon does not stop the guest, and the next one finds it', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  await home.createGuest('work')
  await home.ok(['resume', 'work'])
  const guest = await home.console('work')
  await guest.run('head -c 4m /dev/urandom > /run/secret; echo 1 > /root/kept; sync')
  const secret = await guest.run('sha256sum /run/secret')
  const [runner] = home.processes('runner')

  await home.kill('daemon')
  const before = Number(await guest.run('cat /run/tick'))
  await guest.run('echo 3 > /proc/sys/vm/drop_caches')
  t.ok((await guest.run('cat /root/hello /bin/busybox | wc -c')).length > 5, 'it reads its disk')
  await guest.run('echo 2 > /root/kept; sync')
  await until(async () => Number(await guest.run('cat /run/tick')) > before)
  t.is(home.processes('daemon').length, 0, 'all of it without a daemon')

  t.is((await home.parcel('work'))?.['state'], 'running', 'found again')
  t.alike(home.processes('runner'), [runner])
  const again = await home.run(['resume', 'work'])
  t.is(again.error?.code, 'PARCEL_RUNNING')
  const { version } = await home.ok(['suspend', 'work', '-m', 'after the kill'])
  t.is(version, 2)
  await nothingRuns(home, t)

  const { booted } = await home.ok(['resume', 'work'])
  t.is(booted, false)
  const back = await home.console('work')
  t.is(await back.run('sha256sum /run/secret'), secret, 'RAM is whole')
  t.is(await back.run('cat /root/kept'), '2')

  // The second one is killed while the daemon's commit is under way.
  const suspending = home.start(['suspend', 'work'])
  await suspending.saw('writing back memory')
  await home.kill('daemon')
  const broken = await suspending.done
  t.is(broken.code, 1)
  t.is(broken.error?.code, 'DAEMON_GONE')
  await until(async () => (await home.parcel('work'))?.['state'] === 'running')
  t.is(await back.run('sha256sum /run/secret'), secret, 'it runs on')
  t.is((await home.ok(['suspend', 'work']))['version'], 3)
  await nothingRuns(home, t)
})

test('a killed QEMU or runner is a power cut, and the user chooses', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  await home.createGuest('work')
  await home.ok(['resume', 'work'])
  const guest = await home.console('work')
  await guest.run('echo in the version > /root/kept; sync; echo x > /run/ram')
  await home.ok(['suspend', 'work'])
  await home.ok(['resume', 'work'])
  await (await home.console('work')).run('echo flushed > /root/kept; sync')

  await home.kill('qemu')
  await until(async () => (await home.parcel('work'))?.['state'] === 'crashed')
  await nothingRuns(home, t)
  t.alike(await overlays(home), ['disk0.overlay'], 'the disk is kept, RAM is not')
  const asked = await home.run(['resume', 'work'])
  t.is(asked.code, 7)
  t.is(asked.error?.code, 'CRASH_CHOICE')
  t.ok(/--from-crash disk.*--from-crash version/.test(String(asked.error?.hint)), asked.error?.hint)
  t.is((await home.run(['serve', 'work', '--writable'])).code, 7, 'nor is it dropped by a serve')
  t.alike(await overlays(home), ['disk0.overlay'])

  const disk = await home.ok(['resume', 'work', '--from-crash', 'disk'])
  t.is(disk['booted'], true)
  const booted = await home.console('work')
  t.is(await booted.run('cat /root/kept; ls /run/ram 2>/dev/null; true'), 'flushed', 'a boot')
  await booted.run('echo also flushed > /root/more; sync')

  await home.kill('runner')
  await until(() => home.processes('qemu').length + home.processes('nbdfuse').length === 0)
  await until(async () => (await home.parcel('work'))?.['state'] === 'crashed')
  t.is((await home.run(['resume', 'work'])).code, 7)
  const third = await home.ok(['resume', 'work', '--from-crash', 'disk'])
  t.is(third['booted'], true)
  const kept = await home.console('work')
  t.is(await kept.run('cat /root/kept /root/more'), 'flushed\nalso flushed', 'over two crashes')

  await home.kill('daemon')
  await home.kill('runner')
  await until(() => home.processes('qemu').length + home.processes('nbdfuse').length === 0)
  t.is((await home.parcel('work'))?.['state'], 'crashed', 'a new daemon sees it too')
  const version = await home.ok(['resume', 'work', '--from-crash', 'version'])
  t.is(version['booted'], false)
  const old = await home.console('work')
  t.is(
    await old.run('cat /root/kept; ls /root/more 2>/dev/null; cat /run/ram'),
    'in the version\nx'
  )
  await home.ok(['suspend', 'work'])
  await nothingRuns(home, t)
  t.alike(await home.leftovers(), [])
})

async function overlays(home: Device): Promise<string[]> {
  return (await home.leftovers()).map((file) => path.basename(file))
}

/** No process of a VM, no mount, no socket. */
async function nothingRuns(home: Device, t: { alike(a: unknown, b: unknown, m?: string): void }) {
  await until(() => home.processes('runner').length === 0)
  for (const kind of ['qemu', 'nbdfuse'] as const) t.alike(home.processes(kind), [], `no ${kind}`)
  t.alike(home.mounts(), [], 'no mount')
  const run = await readdir(path.join(home.home, 'run'))
  t.alike(run, ['daemon.sock'], 'no socket')
  const logs = await readFile(path.join(home.home, 'daemon.log'), 'utf8')
  t.alike(logs.match(/"level":50.*/g), null, 'no error in the log')
}
