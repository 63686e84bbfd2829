/**
 * Caches with the real program: they follow what devices list by themselves, serve it when its author is off, keep within
 * their quota, and have neither a key nor any plaintext.
 */
import { readFile, readdir } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import type { Assert } from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { create, exported, write } from '../helpers/disk-versions.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2
/** Nothing else has that in it. */
const NAME = 'privateer-ledger'

interface Held {
  fleet: string
  complete: boolean
  bytes_local: number
}

interface Part {
  fleet: string
  quota_bytes: number
  bytes_held: number
  full: boolean
}

async function held(cache: Device): Promise<Held[]> {
  return (await cache.ok(['ls']))['held'] as Held[]
}

async function parts(cache: Device): Promise<Part[]> {
  return (await cache.ok(['status']))['caches'] as Part[]
}

async function enrol(fleet: Fleet, host: Device, cache: Device, quota: string): Promise<Json> {
  const { invite } = await host.ok(['invite', '--cache', '--no-wait'])
  const bootstrap = ['--bootstrap', fleet.bootstrap]
  return cache.ok(['join', String(invite), '--name', cache.name, '--quota', quota, ...bootstrap])
}

/** Resolves when so many versions are wholly held. */
async function holds(cache: Device, count: number): Promise<void> {
  await until(async () => (await held(cache)).filter(({ complete }) => complete).length === count)
}

test(
  'what a device makes is held by a cache, and another one reads it there alone',
  { timeout: 300_000 },
  async (t) => {
    if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
    const fleet = await Fleet.open(t)
    const home = await fleet.first('home')
    const office = await fleet.join(home, 'office')
    await create(fleet, home, 8 * MIB)

    const cache = fleet.device('cache')
    const { role, device } = await enrol(fleet, home, cache, '1G')
    t.alike([role, device], ['cache', 'cache'])
    await until(async () => (await office.online()).includes('cache'))
    await office.ok(['daemon', 'stop'])
    await holds(cache, 1)
    const hash = await write(fleet, home, MIB, 2 * MIB)
    await home.ok(['rename', 'work', NAME])
    await holds(cache, 2)
    await until(async () => {
      const { versions } = (await home.ok(['log', NAME])) as { versions: { replicas: number }[] }
      return versions.every(({ replicas }) => replicas === 1)
    })

    // Shown with its role; what it cannot do is refused.
    const { devices } = (await home.ok(['devices'])) as { devices: Json[] }
    const row = devices.find(({ name }) => name === 'cache')
    t.is(row?.['role'], 'cache')
    t.is(row?.['quota_bytes'], 1024 * MIB)
    t.ok(Number(row?.['bytes_held']) > 10 * MIB)
    const refused = await cache.run(['export', 'work', path.join(fleet.directory, 'no')])
    t.is(refused.error?.code, 'IS_CACHE')
    const evicted = await home.run(['evict', NAME, '--yes'])
    t.is(evicted.error?.code, 'LAST_COPY', 'what a cache has is no reason to drop anything')

    await home.ok(['daemon', 'stop'])
    await office.ok(['daemon', 'status'])
    await until(async () => (await office.parcel(NAME))?.['version'] === 2)
    t.is(await exported(fleet, office, NAME), hash, 'all of it came from the cache')
    await hasNoPlaintext(t, fleet, home, cache)
  }
)

/** Neither what the disk holds, nor names, nor a key of the fleet. */
async function hasNoPlaintext(t: Assert, fleet: Fleet, home: Device, cache: Device): Promise<void> {
  const disk = await readFile(path.join(fleet.directory, 'written'))
  const needles = new Map<string, Buffer>([['name of the parcel', Buffer.from(NAME)]])
  for (let at = 0; at < disk.length; at += disk.length / 16) {
    needles.set(`disk at ${at}`, disk.subarray(at + 100, at + 132))
  }
  const device = await readFile(path.join(home.home, 'keys', 'device.key'))
  needles.set("the device's seed", device.subarray(-32))
  const entries = await readdir(cache.home, { recursive: true, withFileTypes: true })
  let bytes = 0
  for (const entry of entries.filter((one) => one.isFile())) {
    const file = path.join(entry.parentPath, entry.name)
    const data = await readFile(file)
    bytes += data.byteLength
    for (const [what, needle] of needles) {
      if (data.includes(needle)) t.fail(`${file} has ${what}`)
    }
  }
  t.ok(bytes > 8 * MIB, 'there was something to search')
}

test(
  'a small quota holds the newest, and is not exceeded; two fleets share a cache',
  { timeout: 300_000 },
  async (t) => {
    if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
    const fleet = await Fleet.open(t)
    const home = await fleet.first('home')
    await create(fleet, home, 8 * MIB)
    const cache = fleet.device('cache')
    await enrol(fleet, home, cache, '20M')
    await holds(cache, 1)
    for (let version = 2; version <= 4; version++) {
      await write(fleet, home, 0, 6 * MIB)
      // The newest is there, whatever had to go for it.
      await until(
        async () => (await held(cache))[0].complete && (await held(cache)).length === version
      )
      const [{ bytes_held }] = await parts(cache)
      t.ok(bytes_held <= 24 * MIB, `${bytes_held} bytes with version ${version}`)
    }
    const rows = await held(cache)
    t.not(rows.at(-1)!.complete, 'the oldest went')

    const other = fleet.device('other')
    await other.ok(['init', '--name', 'other', '--bootstrap', fleet.bootstrap])
    await create(fleet, other, 6 * MIB)
    await enrol(fleet, other, cache, '4M')
    await until(async () => (await parts(cache)).some(({ full }) => full))
    const { devices } = (await other.ok(['devices'])) as { devices: Json[] }
    t.is(
      devices.find(({ role }) => role === 'cache')?.['full'],
      true,
      'it says that it is too small'
    )
    const both = await parts(cache)
    t.is(both.length, 2)
    t.ok((await held(cache))[0] !== undefined)

    const { invite } = await home.ok(['invite', '--cache', '--no-wait'])
    const late = fleet.device('late')
    const bootstrap = ['--bootstrap', fleet.bootstrap]
    const unlimited = await late.run(['join', String(invite), ...bootstrap])
    t.alike([unlimited.code, unlimited.error?.code], [2, 'USAGE'], 'a cache needs a quota')
    await late.ok(['join', String(invite), '--quota', '1G', ...bootstrap])
    const again = await fleet
      .device('again')
      .run(['join', String(invite), '--quota', '1G', ...bootstrap])
    t.is(again.error?.code, 'INVITE_USED')
  }
)
