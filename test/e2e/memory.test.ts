/** Memory that daemon and runner take does not depend on the size of the disk. */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import { Fleet, type Device, type ProcessKind } from '../helpers/devices.ts'
import { rawImage } from '../helpers/images.ts'
import { need, type RequirementName } from '../helpers/requirements.ts'

const NEEDS: RequirementName[] = ['qemu', 'fuse', 'bubblewrap', 'apt-get', 'e2fsprogs']
const GIB = 1024 ** 3
const MIB = 1024 ** 2
const LIMIT_MIB = 500

test('a disk of 64 GiB, written all over', { timeout: 400_000 }, async (t) => {
  if (!need(t, ...NEEDS)) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const blank = await rawImage(path.join(fleet.directory, 'blank'), 64 * GIB, [])
  await home.createGuest('work', '512M', ['--disk', blank])
  await home.ok(['resume', 'work'])
  const guest = await home.console('work')
  const places = '0 6 12 18 24 30 36 42 48 54 60 63'
  const write = `head -c 64m /dev/urandom > /run/data && for g in ${places}; do dd if=/run/data of=/dev/vdb bs=1M seek=$((g * 1024)) conv=notrunc 2>/dev/null || echo failed; done; sync`
  t.is(await guest.run(write, { timeoutMs: 240_000 }), '', '768 MiB in twelve places')
  const running = await resident(home, 'VmRSS')
  t.comment(`while it runs: ${JSON.stringify(running)} MiB resident`)
  t.ok(total(running) < LIMIT_MIB, 'while it runs')
  const checkpoint = await home.ok(['checkpoint', 'work'])
  t.ok(Number(checkpoint['bytes_new']) > 64 * MIB)
  const peaks = await resident(home, 'VmHWM')
  t.comment(`the most of each until then: ${JSON.stringify(peaks)} MiB`)
  t.ok(total(peaks) < LIMIT_MIB, 'and during a commit of all of it')
  await home.ok(['suspend', 'work'])
})

async function resident(device: Device, field: string): Promise<Record<string, number>> {
  const found: Record<string, number> = {}
  for (const kind of ['daemon', 'runner'] satisfies ProcessKind[]) {
    const [pid] = device.processes(kind)
    const status = await readFile(`/proc/${pid}/status`, 'utf8')
    const kib = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)![1]
    found[kind] = Math.round(Number(kib) / 1024)
  }
  return found
}

function total(found: Record<string, number>): number {
  return Object.values(found).reduce((sum, mib) => sum + mib, 0)
}
