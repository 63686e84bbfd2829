/** hoard, push and standing orders: versions go to other devices by themselves, also after restarts and times without a network. */
import test from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { create, exported, random, write } from '../helpers/disk-versions.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2

test(
  'new versions go where they are followed, and work there alone',
  { timeout: 300_000 },
  async (t) => {
    if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
    t.comment(`seed ${random.seed}`)
    const fleet = await Fleet.open(t)
    const home = await fleet.first()
    await create(fleet, home, 8 * MIB)
    const office = await fleet.join(home, 'office')
    await until(async () => (await office.parcel('work'))?.['version'] === 1)

    const offline = await office.run(['resume', 'work', '--offline'])
    t.is(offline.code, 4, 'the lease is at home')
    const hoarded = await office.ok(['hoard', 'work', '--follow'])
    t.alike(
      [hoarded['version'], hoarded['bytes_fetched'], hoarded['bytes_missing']],
      [1, 8 * MIB, 0]
    )
    t.alike([hoarded['following'], (await shown(office))['complete']], [true, true])
    const again = await office.ok(['hoard', 'work', '--version', '1'])
    t.alike([again['bytes_fetched'], again['bytes_missing']], [0, 0], 'nothing is fetched twice')
    t.is((await office.run(['hoard', 'work', '--version', '7'])).code, 3)

    // Made while the other device is off, and after its restart: it fetches what it missed.
    await office.ok(['daemon', 'stop'])
    await write(fleet, home, MIB, 300_000)
    t.is(await replicas(home), 0)
    t.alike(await orders(office), ['follow office'], 'it lasts, and starts its daemon')
    await until(async () => (await shown(office))['complete'] === true)
    t.is((await shown(office))['version'], 2)
    await until(async () => (await replicas(home)) === 1)

    // And while this one is cut off.
    await home.ok(['daemon', 'stop'])
    const third = await write(fleet, home, 2 * MIB, 300_000)
    await until(async () => (await shown(office))['version'] === 3)
    await until(async () => (await shown(office))['complete'] === true)

    // What it said is remembered when nobody is there.
    await until(async () => (await replicas(home)) === 1)
    await office.kill('daemon')
    await home.ok(['daemon', 'stop'])
    const alone = await shown(home)
    const [replica] = alone['replicas'] as Json[]
    t.alike([replica['device'], replica['online']], ['office', false], 'at last contact')

    await home.ok(['daemon', 'stop'])
    t.is(await exported(fleet, office, 'work'), third, 'no other device is needed')
  }
)

test('push --follow sends each version; its end is obeyed', { timeout: 300_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  await create(fleet, home, 8 * MIB)
  const office = await fleet.join(home, 'office')

  const sent = await home.ok(['push', 'work', '--to', 'office'])
  t.alike(
    [sent['bytes_sent'], sent['bytes_missing'], sent['following']],
    [8 * MIB, 0, false],
    'once'
  )
  t.is(await replicas(home), 1)
  await write(fleet, home, MIB, 300_000)
  await until(async () => (await shown(office))['version'] === 2)
  const here = await shown(office)
  t.ok(Number(here['bytes_missing']) > 0, 'it is not followed')
  t.ok(Number(here['bytes_missing']) < MIB, 'only what is new is missing')

  await office.ok(['daemon', 'stop'])
  const away = await home.run(['push', 'work', '--to', 'office'])
  t.alike([away.code, away.error?.code], [5, 'PEER_UNREACHABLE'])
  const ordered = await home.ok(['push', 'work', '--to', 'office', '--follow'])
  t.alike([ordered['online'], ordered['following'], ordered['bytes_sent']], [false, true, 0])
  t.alike(await orders(home), ['push office'])

  t.is((await shown(office))['name'], 'work')
  await until(async () => (await orders(office)).length === 1)
  t.alike(await orders(office), ['follow home'], 'told when it is back')
  await until(async () => (await shown(office))['complete'] === true)
  await write(fleet, home, 3 * MIB, 300_000)
  await until(async () => (await shown(office))['version'] === 3)
  await until(async () => (await shown(office))['complete'] === true)

  // One that nobody has any more is no reason to wait.
  await office.ok(['prune', 'work', '--keep', '1', '--yes'])
  await home.ok(['prune', 'work', '--keep', '1', '--yes'])
  const gone = await home.run(['rollback', 'work', '1'])
  t.alike([gone.code, gone.error?.code], [5, 'DATA_UNREACHABLE'])
  t.ok(gone.error?.message.includes('made here'), gone.error?.message)
  t.absent(gone.stderr.includes('from home'), gone.stderr)

  // The one that gets them may end it; whoever sends them learns of it and does not begin anew.
  await office.ok(['hoard', 'work', '--no-follow'])
  t.alike(await orders(office), [])
  await office.ok(['daemon', 'stop'])
  await office.ok(['ls'])
  await until(async () => (await orders(home)).length === 0)
  t.alike(await orders(office), [])

  // Given again, then ended by evict, which says what is missing.
  await home.ok(['push', 'work', '--to', 'office', '--follow'])
  await until(async () => (await orders(office)).length === 1)
  const evicted = await office.ok(['evict', 'work', '--yes'])
  t.ok(Number(evicted['bytes_missing']) > 8 * MIB, 'of all versions')
  t.alike(await orders(office), [])
  await write(fleet, home, 4 * MIB, 300_000)
  await until(async () => (await shown(office))['version'] === 4)
  t.is((await shown(office))['complete'], false, 'nothing comes any more')

  // With the lease and without the data: it says how much is missing.
  await home.ok(['suspend', 'work', '--to', 'office'])
  await home.kill('daemon')
  const { code, error } = await office.run(['resume', 'work', '--offline'])
  t.alike([code, error?.code], [5, 'DATA_UNREACHABLE'])
  t.ok(Number(error?.context?.['bytes_missing']) > 0, JSON.stringify(error))
})

async function shown(device: Device): Promise<Json> {
  return (await device.ok(['show', 'work']))['parcel'] as Json
}

/** Of the newest version, by `log`. */
async function replicas(device: Device): Promise<number> {
  const { versions } = (await device.ok(['log', 'work'])) as { versions: Json[] }
  return Number(versions.at(-1)?.['replicas'])
}

async function orders(device: Device): Promise<string[]> {
  const rows = (await device.ok(['status']))['orders'] as Json[]
  return rows.map((row) => `${String(row['kind'])} ${String(row['device'])}`)
}
