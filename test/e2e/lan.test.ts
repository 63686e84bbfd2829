/** Two machines on one Ethernet with nothing else on it: no DHT, no Internet, no router. */
import path from 'node:path'
import test from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { rawImage, sha256, scattered } from '../helpers/images.ts'
import { twoHosts } from '../helpers/namespaces.ts'
import { Random } from '../helpers/random.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const SIZE_BYTES = 16 * 1024 * 1024
/** Nobody answering takes 60 s. */
const REFUSED_MS = 40_000

test('devices join and fetch with no DHT', { timeout: 500_000 }, async (t) => {
  if (!need(t, 'root', 'iproute', 'qemu-tools')) return
  const hosts = await twoHosts(t)
  const fleet = await Fleet.open(t)
  const [home, office] = ['home', 'office'].map((name, i) => {
    const device = fleet.device(name)
    device.through = hosts[i].through
    return device
  })
  // On that Ethernet, and nobody is there.
  const nobody = ['--bootstrap', '10.77.66.250:49737']
  const random = new Random(1)
  const image = path.join(fleet.directory, 'disk.raw')
  await rawImage(image, SIZE_BYTES, scattered(random, SIZE_BYTES, 200))

  await home.ok(['init', '--name', 'home', ...nobody])
  await home.ok(['create', 'work', '--disk', image])
  const { invite } = await home.ok(['invite', '--no-wait'])
  await office.ok(['join', String(invite), '--name', 'office', ...nobody])

  // Who made the invite is right there, and says no at once.
  const late = fleet.device('late')
  late.through = hosts[1].through
  const began = performance.now()
  const used = await late.run(['join', String(invite), ...nobody])
  t.alike([used.code, used.error?.code], [1, 'INVITE_USED'])
  t.ok(/new one/.test(used.error?.hint ?? ''), used.error?.hint)
  t.ok(performance.now() - began < REFUSED_MS, `after ${Math.round(performance.now() - began)} ms`)
  t.alike(await devices(home), ['home', 'office'])
  await late.ok(['daemon', 'stop'])
  await until(async () => (await office.parcel('work'))?.['version'] === 1)
  const copy = path.join(fleet.directory, 'copy.raw')
  await office.ok(['export', 'work', copy])
  t.is(await sha256(copy), await sha256(image))
  t.is(await pathTo(office, 'home'), 'lan')
  t.is(await pathTo(home, 'office'), 'lan')
  const [peer] = (await office.ok(['stats']))['peers'] as Json[]
  t.ok(Number((peer['lan'] as Json)['blocks_received']) > 0)
  t.is((peer['wan'] as Json)['bytes_received'], 0)

  await home.kill('daemon')
  await home.ok(['ls'])
  await until(async () => (await office.online()).includes('home'))
  await office.ok(['config', 'lan', 'false'])
  await office.ok(['daemon', 'stop'])
  await office.ok(['ls'])
  await until(async () => !(await home.online()).includes('office'))
  t.alike(await office.online(), [], 'and not where that is not wanted')
})

async function devices(device: Device): Promise<string[]> {
  const { devices: rows } = await device.ok(['devices'])
  return (rows as Json[]).map((row) => String(row['name'])).sort()
}

async function pathTo(device: Device, name: string): Promise<unknown> {
  const { devices } = await device.ok(['devices'])
  return (devices as Json[]).find((row) => row['name'] === name)?.['path']
}
