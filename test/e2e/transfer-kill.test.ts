/** Daemons are killed at either end of a transfer: it goes on by itself, and what is stored is not fetched again. */
import test from 'brittle'
import type { Device, Json } from '../helpers/devices.ts'
import { create, exported } from '../helpers/disk-versions.ts'
import { blocks } from '../helpers/received.ts'
import { need, type RequirementName } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'
import { wanFleet } from '../helpers/wan-fleet.ts'

const NEEDS: RequirementName[] = ['root', 'iproute', 'vde', 'qemu-tools', 'nbd-tools', 'qemu']
const DISK_BYTES = 20 * 1024 ** 2
const NEEDED = DISK_BYTES / (64 * 1024)
/** Of these, what a kill may cost: blocks that were not flushed yet. */
const TWICE_SHARE_MAX = 0.2

test('both sides are killed in the middle, again and again', { timeout: 300_000 }, async (t) => {
  if (!need(t, ...NEEDS)) return
  const { fleet, link } = await wanFleet(t)
  const home = await fleet.first()
  const hash = await create(fleet, home, DISK_BYTES)
  const office = await fleet.join(home, 'office')
  await until(async () => (await office.parcel('work'))?.['version'] === 1)
  await link({ mbps: 16, rttMs: 20 })
  office.start(['hoard', 'work', '--follow']).done.catch(() => {}) // it ends with its daemon
  let all = 0
  for (const device of [office, home, office]) {
    await until(async () => (await blocks(office)) > 60)
    if (device === office) all += await blocks(office)
    await device.kill('daemon')
    await device.ok(['ls'])
    if (device === home) await until(async () => (await office.online()).includes('home'))
  }
  await until(async () => (await shown(office))['complete'] === true)
  all += await blocks(office)
  t.comment(`${all} blocks came for ${NEEDED} of data`)
  t.ok(all < NEEDED * (1 + TWICE_SHARE_MAX), 'what is stored is not fetched again')
  await home.ok(['daemon', 'stop'])
  t.is(await exported(fleet, office, 'work'), hash)
})

async function shown(device: Device): Promise<Json> {
  return (await device.ok(['show', 'work']))['parcel'] as Json
}
