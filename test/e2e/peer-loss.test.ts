/** The device that has the data goes away while a guest reads it: the guest waits, and goes on when there is a source again. */
import test from 'brittle'
import path from 'node:path'
import { Fleet } from '../helpers/devices.ts'
import { need, type RequirementName } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const NEEDS: RequirementName[] = ['qemu', 'fuse', 'bubblewrap', 'apt-get', 'e2fsprogs']
const VOLUMES = ['memory', 'disk0', 'kernel', 'initrd']
/** Long enough for a guest that does not wait. */
const PATIENCE_MS = 4000

test('a guest waits for pages whose source is gone', { timeout: 300_000 }, async (t) => {
  if (!need(t, ...NEEDS)) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  await home.createGuest('work')
  await home.ok(['resume', 'work'])
  const before = await home.console('work')
  const sums: string[] = []
  for (const name of ['a', 'b', 'c']) {
    await before.run(`head -c 6m /dev/urandom > /run/${name}`, { timeoutMs: 60_000 })
    sums.push(await before.run(`md5sum < /run/${name}`, { timeoutMs: 60_000 }))
  }
  await home.ok(['suspend', 'work'])
  const lab = await fleet.join(home, 'lab')
  const office = await fleet.join(home, 'office')
  for (const device of [lab, office]) {
    await until(async () => (await device.parcel('work'))?.['version'] === 2)
  }
  for (const volume of VOLUMES) {
    await lab.ok(['export', 'work', path.join(fleet.directory, 'copy'), '--volume', volume])
  }
  await lab.ok(['daemon', 'stop'])

  await office.ok(['resume', 'work', '--fetch', 'demand'])
  const guest = await office.console('work')
  await guest.ready()
  await home.kill('daemon')
  const first = guest.run('md5sum < /run/a', { timeoutMs: 120_000 })
  t.absent(await within(first), 'it waits')
  await until(async () => Number((await office.parcel('work'))?.['waiting_ms']) > 0)
  const row = await office.parcel('work')
  t.is(row?.['state'], 'running')
  t.ok(/waiting for data/.test(String(row?.['note'])), String(row?.['note']))
  const refused = await office.run(['suspend', 'work'])
  t.alike([refused.code, refused.error?.code], [5, 'DATA_UNREACHABLE'], 'no version without it')
  t.ok(/VM runs on/.test(refused.error?.hint ?? ''), refused.error?.hint)
  await home.ok(['ls'])
  t.is(await first, sums[0], 'the source is back, killed and all')

  await home.kill('daemon', 'SIGSTOP')
  const second = guest.run('md5sum < /run/b', { timeoutMs: 120_000 })
  t.absent(await within(second), 'it waits for one that says nothing')
  await lab.ok(['ls'])
  t.is(await second, sums[1], 'another device has it too')

  const third = guest.run('md5sum < /run/c', { timeoutMs: 120_000 })
  t.is(await third, sums[2], 'while the first one still says nothing')
  await home.kill('daemon', 'SIGCONT')
  await office.kill('daemon')
  t.is((await office.ok(['suspend', 'work']))['version'], 3, 'and all of it is whole')
})

/** Did it end by itself soon? */
async function within(promise: Promise<unknown>): Promise<boolean> {
  const late = new Promise<boolean>((resolve) => setTimeout(resolve, PATIENCE_MS, false))
  return Promise.race([promise.then(() => true), late])
}
