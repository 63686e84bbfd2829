/** Volumes without a VM: what was imported comes out again, by every tool, and what was written is kept. */
import { stat, truncate } from 'node:fs/promises'
import path from 'node:path'
import test, { type Assert } from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { fio } from '../helpers/fio.ts'
import { bytesOnDisk, rawImage, sameImage, scattered, sha256, tool } from '../helpers/images.ts'
import type { Program } from '../helpers/program.ts'
import { Random } from '../helpers/random.ts'
import { need } from '../helpers/requirements.ts'
import { memoryBytes } from '../helpers/memory.ts'

const MIB = 1024 ** 2
const GIB = 1024 ** 3
const random = new Random()

test('an exported volume is the image that was imported', { timeout: 180_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'qemu')) return
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  for (const [name, file] of Object.entries(await images(fleet.directory))) {
    const created = await home.create(name, ['--disk', file, '--memory', '64M'])
    t.is(created['version'], 1)
    const raw = path.join(fleet.directory, `${name}.out`)
    const { bytes } = await home.ok(['export', name, raw])
    const sizeBytes = Number(
      JSON.parse(await tool('qemu-img', 'info', '--output=json', file))['virtual-size']
    )
    t.is(bytes, sizeBytes, `${name}: says how many bytes`)
    t.is((await stat(raw)).size, sizeBytes, `${name}: has the size`)
    t.ok(await sameImage(file, raw), `${name}: as a raw image`)
    if (!name.startsWith('qcow2')) {
      await truncate(file, sizeBytes) // a disk has whole sectors
      t.is(await sha256(raw), await sha256(file), `${name}: byte for byte`)
    }
    t.ok((await bytesOnDisk(raw)) < 16 * MIB, `${name}: holes stay holes`)
    const qcow2 = path.join(fleet.directory, `${name}.qcow2`)
    await home.ok(['export', name, qcow2, '--format', 'qcow2'])
    t.ok(await sameImage(file, qcow2), `${name}: as a qcow2 image`)
  }
  t.alike(home.processes('runner'), [], 'no runner is left')
})

test('tools read what is served, and it is only read', { timeout: 120_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'fio', 'qemu')) return
  const { fleet, home, file, uri, serving } = await served(t, 33 * MIB + 512)
  const { exports } = JSON.parse(await tool('nbdinfo', '--json', uri))
  t.is(exports[0]['export-size'], 33 * MIB + 512)
  t.is(exports[0]['is_read_only'], true)
  const map = JSON.parse(await tool('nbdinfo', '--json', '--map', uri)) as {
    length: number
    type: number
  }[]
  t.ok(map.some(({ type }) => type === 3) && map.some(({ type }) => type === 0), 'data and holes')
  const copy = path.join(fleet.directory, 'copy')
  await tool('nbdcopy', uri, copy)
  t.is(await sha256(copy), await sha256(file))
  t.ok(await sameImage(file, uri))
  await t.exception(tool('nbdcopy', copy, uri), /read-only|Operation not permitted|EPERM/)
  const other = await home.run(['serve', 'disk'])
  t.is(other.error?.code, 'PARCEL_RUNNING', 'one at a time')
  const { code, stdout } = await serving.interrupt()
  t.is(code, 0)
  t.is(stdout.trim().split('\n').length, 1, 'the line with the addresses is the object')
  t.is((await home.parcel('disk'))?.['version'], 1)
  t.alike(home.processes('runner'), [])
  t.alike(await home.leftovers(), [])
})

test('what fio writes and verifies becomes a version', { timeout: 180_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'fio', 'qemu')) return
  const sizeBytes = 64 * MIB
  const { fleet, home, file, uri, serving } = await served(t, sizeBytes, ['--writable'])
  const verify = ['--verify=crc32c', '--do_verify=1', '--verify_fatal=1']
  const job = { uri, depth: 16, sizeBytes }
  await fio({
    ...job,
    rw: 'randwrite',
    blockBytes: 4096,
    options: [...verify, '--io_size=24m', '--norandommap=0']
  })
  await fio({
    ...job,
    rw: 'write',
    blockBytes: 65_536,
    sizeBytes: 8 * MIB,
    options: [...verify, '--fsync=16']
  })
  const copy = path.join(fleet.directory, 'written')
  await tool('nbdcopy', uri, copy)
  t.absent(await sameImage(file, copy), 'it did change')
  const { code, json } = await serving.interrupt()
  t.is(code, 0)
  t.is(json['version'], 2)
  const out = path.join(fleet.directory, 'out')
  await home.ok(['export', 'disk', out])
  t.is(await sha256(out), await sha256(copy), 'version 2 is what was written')
  await home.ok(['export', 'disk', out, '--version', '1'])
  t.is(await sha256(out), await sha256(file), 'version 1 is what it was')
  const { versions } = (await home.ok(['log', 'disk'])) as { versions: Json[] }
  t.alike(
    versions.map((v) => [v['version'], v['parent'], v['memory']]),
    [
      [1, null, false],
      [2, 1, false]
    ]
  )

  const idle = home.start(['serve', 'disk', '--writable'])
  await idle.first()
  const end = await idle.interrupt()
  t.is(end.json['version'], 2, 'nothing written, no version')
  t.alike(home.processes('runner'), [])
  t.alike(await home.leftovers(), [])
})

test('a sparse disk of 64 GiB costs no memory', { timeout: 180_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'fio', 'qemu')) return
  const sizeBytes = 64 * GIB
  const places = scattered(random, sizeBytes, 400)
  places.push({ offset: sizeBytes - 4096, data: random.bytes(4096) })
  const { home, file, uri, serving } = await served(t, sizeBytes, [], places)
  await fio({ uri, rw: 'randread', blockBytes: 4096, depth: 32, sizeBytes, runtimeMs: 4000 })
  await fio({ uri, rw: 'read', blockBytes: 262_144, depth: 8, sizeBytes, runtimeMs: 4000 })
  const map = JSON.parse(await tool('nbdinfo', '--json', '--map', uri)) as { length: number }[]
  t.is(
    map.reduce((sum, { length }) => sum + length, 0),
    sizeBytes
  )
  t.ok(map.length > 400)
  t.ok(await sameImage(file, uri))
  const [daemon] = home.processes('daemon')
  const [runner] = home.processes('runner')
  const used = memoryBytes(daemon) + memoryBytes(runner)
  t.comment(`daemon ${memoryBytes(daemon) / MIB} MiB, runner ${memoryBytes(runner) / MIB} MiB`)
  t.ok(used < 500 * MIB, `${Math.round(used / MIB)} MiB at the most`)
  await serving.interrupt()
})

/** Raw and qcow2, odd sizes, sparse and dense. */
async function images(directory: string): Promise<Record<string, string>> {
  const at = (name: string) => path.join(directory, name)
  const dense = 5 * MIB
  const raw = await rawImage(at('dense.img'), dense, [{ offset: 0, data: random.bytes(dense) }])
  const sparse = await rawImage(at('sparse.img'), 200 * MIB + 512, scattered(random, 200 * MIB, 40))
  await tool('qemu-img', 'convert', '-O', 'qcow2', '-c', raw, at('compressed.qcow2'))
  await tool('qemu-img', 'convert', '-O', 'qcow2', sparse, at('sparse.qcow2'))
  return {
    dense: raw,
    sparse,
    odd: await rawImage(at('odd.img'), 2 * MIB + 1234, scattered(random, 2 * MIB + 1234, 9)),
    tiny: await rawImage(at('tiny.img'), 1, [{ offset: 0, data: Buffer.of(1) }]),
    zeros: await rawImage(at('zeros.img'), 10 * MIB, []),
    'qcow2-compressed': at('compressed.qcow2'),
    'qcow2-sparse': at('sparse.qcow2')
  }
}

interface Served {
  fleet: Fleet
  home: Device
  file: string
  uri: string
  serving: Program
}

/** The parcel `disk`, served. */
async function served(
  t: Assert,
  sizeBytes: number,
  options: string[] = [],
  places = scattered(random, sizeBytes, 60)
): Promise<Served> {
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const file = await rawImage(path.join(fleet.directory, 'disk.img'), sizeBytes, places)
  await home.create('disk', ['--disk', file, '--memory', '64M'])
  const serving = home.start(['serve', 'disk', ...options])
  t.teardown(() => serving.end(), { force: true })
  const { volumes } = (await serving.first()) as { volumes: { disk0: string } }
  return { fleet, home, file, uri: volumes.disk0, serving }
}
