/** The clients that people use, against our server in a process of its own. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import test, { type Assert } from 'brittle'
import { MemoryDevice } from '../../../lib/block/memory-device.ts'
import type { BlockDevice } from '../../../lib/block/device.ts'
import { SlowDevice } from '../../helpers/faulty-device.ts'
import { fio } from '../../helpers/fio.ts'
import { startNbdServer, until } from '../../helpers/nbd-server.ts'
import { Random } from '../../helpers/random.ts'
import { need } from '../../helpers/requirements.ts'

const run = promisify(execFile)
const MiB = 1024 * 1024

/** 20 MiB with data at the start, a hole, and data near the end. */
function image(): Buffer {
  const bytes = Buffer.alloc(20 * MiB)
  const random = new Random(5)
  random.bytes(2 * MiB + 777).copy(bytes, 0)
  random.bytes(300_000).copy(bytes, 18 * MiB + 5)
  return bytes
}

async function filled(t: Assert, wrap = (device: BlockDevice) => device) {
  const device = new MemoryDevice(20 * MiB)
  const bytes = image()
  device.pwrite(bytes.subarray(0, 3 * MiB), 0, false)
  device.pwrite(bytes.subarray(18 * MiB, 19 * MiB), 18 * MiB, false)
  const server = await startNbdServer(t, { exports: { disk0: wrap(device) } })
  return { device, server, uri: server.uri(), bytes }
}

test('nbd clients: nbdinfo', async (t) => {
  if (!need(t, 'nbd-tools')) return
  const { server } = await filled(t)
  const info = JSON.parse((await run('nbdinfo', ['--json', server.uri('disk0')])).stdout) as {
    structured: boolean
    exports: Record<string, unknown>[]
  }
  t.is(info.structured, true)
  const disk = info.exports[0]
  t.is(disk['export-size'], 20 * MiB)
  for (const able of ['can_multi_conn', 'can_fua', 'can_flush', 'can_trim', 'can_zero', 'can_df']) {
    t.is(disk[able], true, able)
  }
  t.is(disk['is_read_only'], false)
  t.is(disk['block_size_maximum'], 32 * MiB)
  const map = JSON.parse((await run('nbdinfo', ['--map', '--json', server.uri()])).stdout) as {
    offset: number
    length: number
    type: number
  }[]
  t.alike(
    map.map(({ offset, length, type }) => [offset / MiB, length / MiB, type]),
    [
      [0, 3, 0],
      [3, 15, 3],
      [18, 1, 0],
      [19, 1, 3]
    ]
  )
  const list = await run('nbdinfo', ['--list', server.uri()])
  t.ok(list.stdout.includes('export="disk0"'))
})

test('nbd clients: nbdcopy in both directions, with several connections', async (t) => {
  if (!need(t, 'nbd-tools')) return
  const { uri, bytes } = await filled(t)
  const directory = await t.tmp()
  const from = path.join(directory, 'from')
  await run('nbdcopy', [uri, from])
  t.ok((await readFile(from)).equals(bytes))

  const device = new MemoryDevice(20 * MiB)
  const target = await startNbdServer(t, { exports: { '': new SlowDevice(device, () => 1) } })
  await run('nbdcopy', ['--connections=4', '--flush', from, target.uri()])
  t.ok(content(device).equals(bytes))
  t.is(target.memoryBytes, 0)
  const again = new MemoryDevice(20 * MiB)
  const copy = await startNbdServer(t, { exports: { again } })
  await run('nbdcopy', [uri, copy.uri('again')])
  t.ok(content(again).equals(bytes), 'from server to server')
})

test('nbd clients: qemu-img info, map, convert, compare', async (t) => {
  if (!need(t, 'qemu-tools')) return
  const { server, uri, bytes } = await filled(t)
  const info = JSON.parse((await run('qemu-img', ['info', '--output=json', uri])).stdout) as {
    'virtual-size': number
  }
  t.is(info['virtual-size'], 20 * MiB)
  const map = JSON.parse(
    (await run('qemu-img', ['map', '--output=json', server.uri('disk0')])).stdout
  ) as { start: number; length: number; zero: boolean }[]
  t.alike(
    map.map(({ start, length, zero }) => [start / MiB, length / MiB, zero]),
    [
      [0, 3, false],
      [3, 15, true],
      [18, 1, false],
      [19, 1, true]
    ]
  )
  const directory = await t.tmp()
  const qcow = path.join(directory, 'image.qcow2')
  await run('qemu-img', ['convert', '-O', 'qcow2', uri, qcow])
  await run('qemu-img', ['compare', uri, qcow])
  const device = new MemoryDevice(20 * MiB)
  const target = await startNbdServer(t, { exports: { device } })
  // Shows that `-n` on a server that can write zeroes fast keeps the holes.
  await run('qemu-img', ['convert', '-n', '-O', 'raw', qcow, target.uri()])
  await run('qemu-img', ['compare', qcow, target.uri()])
  t.ok(content(device).equals(bytes))
  t.is(device.allocatedBytes, 4 * MiB, 'holes stayed holes')
  await writeFile(path.join(directory, 'other'), Buffer.alloc(20 * MiB, 1))
  await t.exception(run('qemu-img', ['compare', uri, path.join(directory, 'other')]))
})

test('nbd clients: qemu-io writes, reads, trims, zeroes, flushes', async (t) => {
  if (!need(t, 'qemu-tools')) return
  const { uri, device } = await filled(t, (inner) => new SlowDevice(inner, () => 1))
  const commands = [
    'write -P 0x11 1M 64k',
    'write -f -P 0x22 1049088 512',
    'aio_write -P 0x33 5M 1M',
    'aio_read 5M 1M',
    'aio_flush',
    'discard 2M 64k',
    'write -z 1M 4k',
    'write -z -u 6M 1M',
    'read -P 0 1M 4k',
    'read -P 0x11 1052672 60k',
    'read -P 0x33 5M 1M',
    'flush'
  ]
  const args = ['-f', 'raw', '-t', 'writeback', ...commands.flatMap((c) => ['-c', c]), uri]
  const { stdout } = await run('qemu-io', args)
  t.absent(/.*(fail|error|mismatch).*/i.exec(stdout)?.[0], 'nothing failed')
  t.is(content(device).readUInt8(MiB + 8192), 0x11)
  t.ok(
    content(device)
      .subarray(5 * MiB, 6 * MiB)
      .equals(Buffer.alloc(MiB, 0x33))
  )
})

test('nbd clients: fio writes and verifies', async (t) => {
  if (!need(t, 'fio')) return
  const device = new MemoryDevice(32 * MiB)
  for (const [name, served] of [
    ['at once', device],
    ['late', new SlowDevice(device, () => 1)]
  ] as const) {
    const server = await startNbdServer(t, { exports: { disk0: served } })
    const verify = ['--verify=crc32c', '--do_verify=1', '--verify_fatal=1', '--bsrange=512-128k']
    const figures = await fio({
      uri: server.uri(),
      rw: 'randwrite',
      blockBytes: 4096,
      depth: 16,
      sizeBytes: 32 * MiB,
      options: [...verify, '--blockalign=512', `--randseed=${new Random().seed}`, '--fsync=50']
    })
    t.ok(figures.iops > 0, `answers ${name}`)
    t.ok(await until(() => server.memoryBytes === 0))
  }
})

test('nbd clients: one that is killed with much under way disturbs nobody', async (t) => {
  if (!need(t, 'fio', 'nbd-tools')) return
  const { server, uri } = await filled(t, (inner) => new SlowDevice(inner, () => 2))
  // As a thread, so that one signal ends it all.
  const job = ['--name=job', '--thread', '--ioengine=nbd', `--uri=${uri}`, '--rw=randrw']
  const killed = spawn(
    'fio',
    [...job, '--iodepth=32', '--size=16m', '--time_based', '--runtime=20'],
    {
      stdio: 'ignore'
    }
  )
  t.ok(await until(() => server.connections > 0 && server.memoryBytes > 0, 15_000))
  const exited = once(killed, 'exit')
  killed.kill('SIGKILL')
  await exited
  t.ok(await until(() => server.connections === 0 && server.memoryBytes === 0))
  t.ok((await run('nbdinfo', ['--size', uri])).stdout.includes(String(20 * MiB)))
})

function content(device: BlockDevice): Buffer {
  const bytes = Buffer.alloc(device.size)
  void device.pread(bytes, 0)
  return bytes
}
