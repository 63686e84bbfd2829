/** Caches that are needed, and refused: home is off, the invite is old, another quota is wanted. */
import test from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { need, type RequirementName } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const NEEDS: RequirementName[] = ['qemu', 'fuse', 'bubblewrap', 'apt-get', 'e2fsprogs']
const LONG = { timeoutMs: 120_000 }

test(
  'a VM that was granted in advance comes from a cache alone',
  { timeout: 400_000 },
  async (t) => {
    if (!need(t, ...NEEDS)) return
    const fleet = await Fleet.open(t)
    const home = await fleet.first()
    const office = await fleet.join(home, 'office')
    const cache = fleet.device('cache')
    await enrol(fleet, home, cache, '1G')
    await until(async () => (await office.online()).includes('cache'))
    await office.ok(['daemon', 'stop'])

    // Made, and given to the office, while that is off.
    await home.createGuest('work', '96M')
    await home.ok(['resume', 'work'])
    const before = await home.console('work')
    await before.run('head -c 4m /dev/urandom > /run/a', LONG)
    const sum = await before.run('md5sum < /run/a', LONG)
    const granted = await home.ok(['suspend', 'work', '--to', 'office'])
    t.is(granted['lease_delivered'], false, 'the office is off')
    await until(async () => {
      const held = (await cache.ok(['ls']))['held'] as Json[]
      return held.length === 2 && held.every(({ complete }) => complete)
    })
    await home.ok(['daemon', 'stop'])

    await office.ok(['ls'])
    await until(async () => (await office.parcel('work'))?.['version'] === 2)
    const resumed = await office.ok(['resume', 'work'])
    t.alike([resumed['version'], resumed['booted']], [2, false])
    t.alike(await office.online(), ['cache'])
    t.is(await (await office.console('work')).run('md5sum < /run/a', LONG), sum)
  }
)

test('invites and quotas of caches', { timeout: 120_000 }, async (t) => {
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const cache = fleet.device('cache')
  await enrol(fleet, home, cache, '1G')

  const again = await enrol(fleet, home, cache, '2G').catch((err: Error) => err)
  t.comment(`joined again: ${again instanceof Error ? again.message : JSON.stringify(again)}`)
  const [part] = (await cache.ok(['status']))['caches'] as Json[]
  t.comment(JSON.stringify(part))

  const { invite } = await home.ok(['invite', '--cache', '--no-wait', '--expires', '1s'])
  await new Promise((resolve) => setTimeout(resolve, 2100))
  const late = fleet.device('late')
  const expired = await late.run(['join', String(invite), '--quota', '1G', ...fleet.network])
  t.alike([expired.code, expired.error?.code], [1, 'INVITE_EXPIRED'])
  t.ok(/new one/.test(expired.error?.hint ?? ''), expired.error?.hint)
})

async function enrol(fleet: Fleet, host: Device, cache: Device, quota: string): Promise<Json> {
  const { invite } = await host.ok(['invite', '--cache', '--no-wait'])
  const options = ['--name', cache.name, '--quota', quota, ...fleet.network]
  return cache.ok(['join', String(invite), ...options])
}
