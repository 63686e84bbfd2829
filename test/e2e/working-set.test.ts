/** Rehearsals and resume packs: what a resume needs is learnt after the suspend, and comes first at the next resume. */
import test from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const LONG = { timeoutMs: 120_000 }

test(
  'a suspended version is rehearsed, and resumed by its pack',
  { timeout: 300_000 },
  async (t) => {
    if (!need(t, 'qemu', 'fuse', 'bubblewrap')) return
    const fleet = await Fleet.open(t)
    const home = await fleet.first('home', { rehearsal: true })
    const office = await fleet.join(home, 'office')
    await home.createGuest('work', '96M')
    await home.ok(['resume', 'work'])
    const console = await home.console('work')
    await console.ready(LONG.timeoutMs)
    t.is(await console.run('echo $((6*7))', LONG), '42')
    await home.ok(['suspend', 'work'])

    await until(async () => (await packs(home))['made'] === 1)
    t.is((await packs(home))['failed'], 0)
    t.alike(home.processes('qemu'), [], 'the rehearsed VM is gone')
    t.is((await home.ok(['lease', 'work']))['holder'], 'home')
    const { versions } = await home.ok(['log', 'work'])
    t.is((versions as Json[]).length, 2, 'it made no version')

    const demand = await answer(office, ['--fetch', 'demand'])
    t.is(demand.resumed['pack'], null, 'demand ignores packs')
    t.ok(demand.faults > 20, `on demand ${demand.faults} reads waited, ${demand.ms} ms`)
    await office.ok(['discard', 'work', '--yes'])
    await office.ok(['evict', 'work', '--yes'])

    const packed = await answer(office, [])
    t.ok((packed.resumed['pack'] as Json)['segments'], JSON.stringify(packed.resumed['pack']))
    t.comment(
      `${packed.faults} reads waited, ${packed.missed} for what the pack lacks, ${packed.ms} ms`
    )
    t.comment(JSON.stringify({ demand: demand.resumed['trace'], packed: packed.resumed['trace'] }))

    await office.ok(['config', 'rehearsal', 'true'])
    await office.ok(['suspend', 'work'])
    await until(() => office.processes('qemu').length === 1)
    t.is((await office.parcel('work'))?.['state'], 'suspended', 'that is the rehearsal')
    await office.ok(['resume', 'work'])
    await until(() => office.processes('qemu').length === 1)
    const { made, cancelled, failed } = await packs(office)
    t.alike([made, cancelled, failed], [0, 1, 0], 'a resume ends it')
    t.is(await (await office.console('work')).run('echo $((6*7))', LONG), '42')
  }
)

async function packs(device: Device): Promise<Json> {
  return (await device.ok(['stats']))['packs'] as Json
}

/** Resumes until the shell answers: reads that waited for the network. */
async function answer(device: Device, args: string[]) {
  await until(async () => (await device.parcel('work'))?.['version'] === 2)
  const resumed = await device.ok(['resume', 'work', ...args])
  const console = await device.console('work')
  await console.run('echo again', LONG)
  const { running } = (await device.ok(['stats', 'work'])) as { running: Json[] }
  const row = running[0]
  const faults = row['faults'] as number
  const missed = faults - (row['faults_in_pack'] as number)
  return { resumed, faults, missed, ms: row['stalled_ms'] as number }
}
