/** Bytes that changed on the disk: an error, or a good copy from a peer; never wrong data. */
import { open, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import { SLOT_HEADER_AGAIN_AT, slotPosition } from '../../lib/format/overlay.ts'
import { damage, files } from '../helpers/damage/stored-files.ts'
import { Fleet } from '../helpers/devices.ts'
import { rawImage, sha256, tool } from '../helpers/images.ts'
import { Random } from '../helpers/random.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2
const random = new Random()

test('a store whose files were damaged', { timeout: 180_000 }, async (t) => {
  if (!need(t, 'qemu', 'qemu-tools')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const data = random.bytes(12 * MIB)
  const image = await rawImage(path.join(fleet.directory, 'image'), data.length, [
    { offset: 0, data }
  ])
  await home.create('disk', ['--disk', image, '--memory', '64M'])
  const out = path.join(fleet.directory, 'out')
  const office = await fleet.join(home, 'office')
  await until(async () => (await office.parcel('disk'))?.['version'] === 1)
  await office.ok(['export', 'disk', out])
  t.is(await sha256(out), await sha256(image))
  await rm(out)
  for (const device of [home, office]) await device.ok(['daemon', 'stop'])

  const blobs = await files(home, 'store', /\.blob$/)
  t.ok(blobs.length > 0)
  for (const file of blobs) await damage(file, 256 * 1024)
  const broken = await home.run(['export', 'disk', out])
  t.alike([broken.code, broken.error?.code], [6, 'DATA_CORRUPT'], JSON.stringify(broken.json))
  t.ok(broken.error?.hint, broken.error?.hint)
  t.absent(await stat(out).catch(() => null), 'no image rather than a wrong one')
  t.absent(await stat(`${out}.part`).catch(() => null))

  const serving = home.start(['serve', 'disk'])
  const { volumes } = (await serving.first()) as { volumes: { disk0: string } }
  const copy = path.join(fleet.directory, 'copy')
  await t.exception(tool('nbdcopy', volumes.disk0, copy), /Input\/output error|nbdcopy/)
  let wrong = 0
  let whole = 0
  for (let offset = 0; offset < data.length; offset += 64 * 1024) {
    const command = `read -P ${data[offset]} ${offset} 1`
    const said = await tool('qemu-io', '-r', '-f', 'raw', '-c', command, volumes.disk0).catch(
      (err: { stdout: string }) => err.stdout
    )
    if (/verification failed/.test(said)) wrong++
    else if (/read 1\/1 bytes/.test(said)) whole++
  }
  t.is(wrong, 0, 'no wrong byte was read')
  t.comment(`${whole} of ${data.length / 65_536} places could still be read`)
  t.is((await serving.interrupt()).code, 0)

  await office.ok(['ls'])
  await until(async () => (await home.online()).includes('office'))
  await home.ok(['export', 'disk', out])
  t.is(await sha256(out), await sha256(image), 'good copies come from a peer')
  await office.ok(['daemon', 'stop'])
  await home.ok(['export', 'disk', out])
  t.is(await sha256(out), await sha256(image), 'and stay')

  await home.ok(['daemon', 'stop'])
  for (const file of await files(home, 'store', /\.sst$/)) await damage(file, 512)
  const index = await home.run(['export', 'disk', out])
  t.is(index.code, 6, `its tables are damaged: ${JSON.stringify(index.json)}`)
  t.ok(index.error?.hint, index.error?.hint)
})

test('a damaged overlay under a client', { timeout: 120_000 }, async (t) => {
  if (!need(t, 'qemu', 'qemu-tools')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  await home.create('disk', ['--size', '8M', '--memory', '64M'])
  const serving = home.start(['serve', 'disk', '--writable'])
  t.teardown(() => serving.end(), { force: true })
  const { volumes } = (await serving.first()) as { volumes: { disk0: string } }
  const io = (...commands: string[]) =>
    tool(
      'qemu-io',
      '-f',
      'raw',
      ...commands.flatMap((command) => ['-c', command]),
      volumes.disk0
    ).catch((err: { stdout: string; stderr: string }) => err.stdout + err.stderr)
  await io('write -P 7 0 1M', 'flush')
  t.ok(/read 1048576\/1048576/.test(await io('read -P 7 0 1M')))
  for (const file of await files(home, 'parcels', /\.overlay$/)) await damage(file, 4096)
  const said = await io('read -P 7 0 4k', 'read -P 7 512k 64k')
  t.ok(/Input\/output error/.test(said), said)
  t.absent(/verification failed|bytes at offset/.test(said), 'nothing was read')
  await io('write -P 9 0 1M', 'flush')
  t.ok(/read 1048576\/1048576/.test(await io('read -P 9 0 1M')), 'what is written again is good')
  const { json, code } = await serving.interrupt()
  t.alike([code, json['version']], [0, 2])
  const out = path.join(fleet.directory, 'out')
  await home.ok(['export', 'disk', out])
  const expected = await rawImage(path.join(fleet.directory, 'expected'), 8 * MIB, [
    { offset: 0, data: Buffer.alloc(MIB, 9) }
  ])
  t.is(await sha256(out), await sha256(expected))
})

test('an overlay that was damaged after a crash', { timeout: 120_000 }, async (t) => {
  if (!need(t, 'qemu', 'qemu-tools')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  await home.create('disk', ['--size', '8M', '--memory', '64M'])
  const serving = home.start(['serve', 'disk', '--writable'])
  t.teardown(() => serving.end(), { force: true })
  const { volumes } = (await serving.first()) as { volumes: { disk0: string } }
  // The second flush says what the first one made durable.
  for (const command of ['write -P 7 0 64k', 'write -P 8 1M 4k']) {
    await tool('qemu-io', '-f', 'raw', '-c', command, '-c', 'flush', volumes.disk0)
  }
  await home.kill('daemon')
  await home.kill('runner')
  const [overlay] = await files(home, 'parcels', /disk0\.overlay$/)
  await flip(overlay, slotPosition(5) + 1000)
  const asked = await home.run(['resume', 'disk'])
  t.alike([asked.code, asked.error?.code], [7, 'CRASH_CHOICE'])
  t.ok(/4096 bytes of disk0 are damaged/.test(asked.error!.message), asked.error?.message)
  for (let slot = 0; slot < 16; slot++) {
    await flip(overlay, slotPosition(slot))
    await flip(overlay, slotPosition(slot) + SLOT_HEADER_AGAIN_AT)
  }
  for (const choice of [[], ['--from-crash', 'disk']]) {
    const refused = await home.run(['resume', 'disk', ...choice])
    t.alike([refused.code, refused.error?.code], [6, 'DATA_CORRUPT'])
    t.ok(refused.error!.message.includes('disk0'), refused.error?.message)
    t.ok(refused.error!.hint!.includes('--from-crash version'), refused.error?.hint)
  }
  t.is((await home.ok(['discard', 'disk', '--yes']))['version'], 1)
  t.alike(await files(home, 'parcels', /overlay$/), [])
})

async function flip(file: string, at: number): Promise<void> {
  const handle = await open(file, 'r+')
  const byte = Buffer.alloc(1)
  await handle.read(byte, 0, 1, at)
  byte[0] ^= 1
  await handle.write(byte, 0, 1, at)
  await handle.close()
}
