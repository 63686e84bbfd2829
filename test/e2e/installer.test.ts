/** A blank disk and an installer's ISO: what a newcomer starts with. */
import { writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import path from 'node:path'
import test from 'brittle'
import { bootIso } from '../helpers/boot-iso.ts'
import { Fleet, processesBelow } from '../helpers/devices.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

test('an installer boots from its ISO, beside a blank disk', { timeout: 60_000 }, async (t) => {
  if (!need(t, 'qemu', 'fuse')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const iso = path.join(fleet.directory, 'installer.iso')
  await writeFile(iso, bootIso('installer is here'))
  const created = await home.create('fresh', ['--size', '20G', '--iso', iso, '--memory', '64M'])
  t.is(created['version'], 1)
  const resumed = await home.ok(['resume', 'fresh'])
  t.is(resumed['booted'], true)
  const serial = connect(resumed['serial'] as string)
  t.teardown(() => serial.destroy())
  let said = ''
  serial.on('data', (data: Buffer) => (said += data.toString('latin1')))
  await until(() => said.includes('installer is here'))
  const { parcel } = await home.ok(['show', 'fresh'])
  const { volumes } = parcel as { volumes: { name: string; bytes: number }[] }
  t.is(volumes.find(({ name }) => name === 'disk0')?.bytes, 20 * 1024 ** 3)
  await home.ok(['discard', 'fresh', '--yes'])

  // FUSE's own helper would take the mount away, most of the time.
  const dies = async () => {
    await home.ok(['resume', 'fresh'])
    for (const { pid, command } of processesBelow(home.home)) {
      if (command.startsWith('fusermount3')) process.kill(pid, 'SIGKILL')
    }
    await home.kill('runner')
    await until(() => home.processes('qemu').length === 0)
    t.is(home.mounts().length, 1, 'the mount of a dead VM')
  }
  await dies()
  await home.ok(['discard', 'fresh', '--yes'])
  t.alike(home.mounts(), [], 'is taken away by a discard')
  await dies()
  await home.kill('daemon')
  await home.ok(['ls'])
  t.alike(home.mounts(), [], 'by a new daemon')
  await home.ok(['discard', 'fresh', '--yes'])
})
