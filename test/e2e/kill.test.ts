/**
 * A kill at every step of a commit and of a rebuild of the dedup index: what was acknowledged is there, verify is
 * clean, and the next one goes on. The steps are those that the code names.
 */
import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import type { Assert } from 'brittle'
import { FAULT_POINTS } from '../../lib/base/fault-point.ts'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { rawImage, tool } from '../helpers/images.ts'
import { keptOverlay } from '../helpers/kept-overlay.ts'
import { Random } from '../helpers/random.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2
const DISK_BYTES = 4 * MIB
const WRITE_BYTES = 256 * 1024
const random = new Random()

test('killed at any step of a commit', { timeout: 400_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const content = random.bytes(DISK_BYTES)
  const image = path.join(fleet.directory, 'image')
  await rawImage(image, DISK_BYTES, [{ offset: 0, data: content }])
  await home.create('work', ['--disk', image, '--memory', '64M'])
  let version = 1
  for (const point of FAULT_POINTS.commit) {
    await home.ok(['daemon', 'stop'])
    const serving = home.start(['serve', 'work', '--writable'], {
      env: { HYPERPARCEL_TEST_KILL_AT: point }
    })
    const { volumes } = (await serving.first()) as { volumes: { disk0: string } }
    const data = random.bytes(WRITE_BYTES)
    const offset = random.int(0, DISK_BYTES / WRITE_BYTES - 1) * WRITE_BYTES
    const file = path.join(fleet.directory, 'data')
    await rawImage(file, WRITE_BYTES, [{ offset: 0, data }])
    const write = `write -s ${file} ${offset} ${WRITE_BYTES}`
    await tool('qemu-io', '-f', 'raw', '-c', write, '-c', 'flush', volumes.disk0)
    const ended = await serving.interrupt()
    t.ok(
      ['DAEMON_GONE', 'RUNNER_GONE'].includes(ended.error?.code ?? ''),
      `killed at ${point}: ${ended.error?.code}`
    )
    for (const kind of ['daemon', 'runner'] as const) await home.kill(kind)

    t.is((await home.ok(['verify']))['bad'], 0, 'verify is clean')
    const { versions } = (await home.ok(['log', 'work'])) as { versions: Json[] }
    const made = versions.length > version
    if (made) {
      version++
      data.copy(content, offset)
    } else {
      const kept = await keptOverlay(home, offset, WRITE_BYTES)
      t.ok(kept.equals(data), 'what was flushed is in the overlay')
      await home.ok(['discard', 'work', '--yes'])
    }
    t.comment(`${point}: ${made ? 'the version exists' : 'no version'}`)
    await same(t, home, content, path.join(fleet.directory, 'out'))
  }
  t.ok(version > 2, 'some were late enough')
})

test('killed at any step of a rebuild of the dedup index', { timeout: 300_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const image = path.join(fleet.directory, 'image')
  const content = random.bytes(DISK_BYTES)
  await rawImage(image, DISK_BYTES, [{ offset: 0, data: content }])
  await home.create('work', ['--disk', image, '--memory', '64M'])
  for (const point of FAULT_POINTS.index) {
    await home.ok(['daemon', 'stop'])
    await rm(path.join(home.home, 'index'), { recursive: true })
    await home.run(['ls'], { env: { HYPERPARCEL_TEST_KILL_AT: `${point}:5` } })
    await until(() => home.processes('daemon').length === 0)
    t.is((await home.ok(['verify']))['bad'], 0, `killed at ${point}`)
  }
  await same(t, home, content, path.join(fleet.directory, 'out'))
  await home.create('again', ['--disk', image, '--memory', '64M'])
  const { versions } = (await home.ok(['log', 'again'])) as { versions: Json[] }
  t.is(versions[0]['bytes_new'], 0, 'all of it was found again')
})

/** The newest version has that content. */
async function same(t: Assert, home: Device, content: Buffer, out: string): Promise<void> {
  await home.ok(['export', 'work', out])
  t.ok((await readFile(out)).equals(content), 'the newest version is what it was written as')
  await rm(out)
}
