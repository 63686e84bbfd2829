/**
 * Whole devices over links that lose, delay, flap and break: a transfer goes on where it stopped, without being asked,
 * and hardly anything comes twice.
 */
import { readFile } from 'node:fs/promises'
import test from 'brittle'
import type { Assert } from 'brittle'
import type { Device } from '../helpers/devices.ts'
import { create, random } from '../helpers/disk-versions.ts'
import { blocks, received } from '../helpers/received.ts'
import { need, type RequirementName } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'
import { wanFleet } from '../helpers/wan-fleet.ts'

const NEEDS: RequirementName[] = ['root', 'iproute', 'vde', 'qemu-tools', 'nbd-tools', 'qemu']
const MIB = 1024 ** 2
const DISK_BYTES = 14 * MIB
const NEEDED = DISK_BYTES / (64 * 1024)
const RATE = { mbps: 8, rttMs: 40 }
const PARTITION_MS = 12_000
/** Of blocks that are needed: what may come twice, all faults together. */
const TWICE_SHARE_MAX = 0.1
const MEMORY_MIB_MAX = 300

test('a transfer lives through bad links', { timeout: 300_000 }, async (t) => {
  if (!need(t, ...NEEDS)) return
  t.comment(`seed ${random.seed}`)
  const { fleet, link } = await wanFleet(t)
  const home = await fleet.first()
  await create(fleet, home, DISK_BYTES)
  const office = await fleet.join(home, 'office')
  await until(async () => (await office.parcel('work'))?.['version'] === 1)

  // One command that has to live through all of this.
  await link({ ...RATE, rttMs: 500, lossPercent: 5 })
  const hoard = office.start(['hoard', 'work'])
  await grows(t, office, 'of 100 frames 5 are lost, and a round trip takes 500 ms', 8)

  for (let i = 0; i < 3; i++) {
    await link(null)
    await sleep(2500)
    await link(RATE)
    await sleep(1500)
  }
  await grows(t, office, 'a link that flaps is up again', 8)

  await link(null)
  const cutAt = await blocks(office)
  await sleep(PARTITION_MS)
  t.ok((await blocks(office)) - cutAt < 4, 'cut off')
  await link(RATE)
  await grows(t, office, 'a partition is over', 8)

  await home.kill('daemon')
  const killedAt = await blocks(office)
  await home.ok(['ls'])
  await grows(t, office, 'the sender was killed', 8)
  t.ok((await blocks(office)) > killedAt)
  const { code, json, stderr } = await hoard.done
  t.is(code, 0, stderr.slice(-1000))
  t.alike([json['bytes_missing'], json['bytes_fetched']], [0, DISK_BYTES], 'each byte once')
  const seen = await received(office)
  t.comment(`${NEEDED} blocks of data: ${JSON.stringify(seen)}`)
  t.ok(seen.wasted <= NEEDED * TWICE_SHARE_MAX, `${seen.wasted} came twice`)
  t.ok(seen.blocks <= NEEDED * (1 + TWICE_SHARE_MAX), `${seen.blocks} came in all`)
})

/** So many blocks more come. */
async function grows(t: Assert, office: Device, when: string, count: number): Promise<void> {
  const began = performance.now()
  const from = await blocks(office)
  await until(async () => (await blocks(office)) >= from + count)
  t.comment(`${when}: ${count} blocks more after ${Math.round(performance.now() - began)} ms`)
  const [pid] = office.processes('daemon')
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const peakMib = Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]) / 1024
  t.ok(peakMib < MEMORY_MIB_MAX, `${when}: ${Math.round(peakMib)} MiB at most`)
}

function sleep(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs))
}
