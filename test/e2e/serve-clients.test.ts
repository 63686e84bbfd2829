/**
 * Every NBD client that Debian has, one after the other on one `serve --writable`: each writes into a region of its own,
 * and reads there what it wrote. What they all wrote is written into a plain file too, by other means; the version that
 * Ctrl-C makes must be that file.
 */
import { execFile } from 'node:child_process'
import { open, writeFile, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import test from 'brittle'
import { Fleet } from '../helpers/devices.ts'
import { fio } from '../helpers/fio.ts'
import { rawImage, sameImage, scattered, sha256, tool } from '../helpers/images.ts'
import { Random } from '../helpers/random.ts'
import { need } from '../helpers/requirements.ts'

const MIB = 1024 ** 2
const SIZE_BYTES = 48 * MIB
const QEMU_IO = 0
const LIBNBD = 8 * MIB
const NBDKIT = 16 * MIB
const NBDKIT_BYTES = 8 * MIB
const FIO = 24 * MIB
const FIO_BYTES = 24 * MIB

const CLIENT_MS = 30_000

/** Pattern, offset and bytes of what qemu-io writes; 0 by discard or zeroes. */
type Place = [pattern: number, offset: number, bytes: number]

test('what all NBD clients write becomes a version', { timeout: 180_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'nbdkit', 'nbdsh', 'fio', 'qemu')) return
  const random = new Random()
  t.comment(`seed ${random.seed}`)
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const at = (name: string) => path.join(fleet.directory, name)
  const places = scattered(random, SIZE_BYTES, 60)
  const file = await rawImage(at('disk.img'), SIZE_BYTES, places)
  const expected = await open(await rawImage(at('expected'), SIZE_BYTES, places), 'r+')
  t.teardown(() => expected.close())
  await home.create('disk', ['--disk', file, '--memory', '64M'])
  const serving = home.start(['serve', 'disk', '--writable'])
  t.teardown(() => serving.end(), { force: true })
  const { volumes } = (await serving.first()) as { volumes: { disk0: string } }
  const uri = volumes.disk0

  const { exports } = JSON.parse(await tool('nbdinfo', '--json', uri))
  t.is(exports[0]['export-size'], SIZE_BYTES)
  for (const can of ['can_flush', 'can_fua', 'can_trim', 'can_zero', 'can_multi_conn']) {
    t.is(exports[0][can], true, `nbdinfo: ${can}`)
  }
  t.is(exports[0]['is_read_only'], false)

  await qemuIo(uri, expected)
  t.pass('qemu-io reads what it wrote')
  await nbdsh(uri, random, expected)
  t.pass('libnbd reads what it wrote')

  const image = random.bytes(NBDKIT_BYTES)
  image.fill(0, MIB, 3 * MIB)
  await writeFile(at('image'), image)
  await nbdkit(uri, `nbdcopy --flush ${at('image')} "$uri"`)
  await nbdkit(uri, `nbdcopy "$uri" ${at('image.back')}`)
  t.is(await sha256(at('image.back')), await sha256(at('image')), 'nbdkit gives back what it got')
  await expected.write(image, 0, image.byteLength, NBDKIT)

  const seed = `--randseed=${random.seed}`
  const verify = ['--verify=crc32c', '--do_verify=1', '--verify_fatal=1', `--offset=${FIO}`, seed]
  const job = { rw: 'randwrite', blockBytes: 4096, depth: 16, sizeBytes: FIO_BYTES } as const
  await fio({ uri, ...job, options: [...verify, '--fsync=500'] })
  t.pass('fio verifies what it wrote')

  await tool('nbdcopy', uri, at('written'))
  const { code, json } = await serving.interrupt()
  t.is(code, 0)
  t.is(json['version'], 2)
  await home.ok(['export', 'disk', at('out')])
  t.is(
    await sha256(at('out')),
    await sha256(at('written')),
    'version 2 is what was read at the end'
  )
  // Only fio knows what fio writes: it looks at it once more, then it counts as expected.
  await fio({ uri: at('out'), ...job, depth: 1, options: [...verify, '--verify_only'] })
  const own = Buffer.alloc(FIO_BYTES)
  await readAll(at('out'), own, FIO)
  await expected.write(own, 0, own.byteLength, FIO)
  t.is(await sha256(at('out')), await sha256(at('expected')), 'version 2 is what was written')
  await home.ok(['export', 'disk', at('first'), '--version', '1'])
  t.ok(await sameImage(at('first'), file), 'version 1 is what it was')
  t.alike(home.processes('runner'), [])
  t.alike(await home.leftovers(), [])
})

async function qemuIo(uri: string, expected: FileHandle): Promise<void> {
  const written: Place[] = [
    [0x5a, QEMU_IO, 2 * MIB],
    [0xa5, QEMU_IO + MIB - 512, 70_144],
    [0x3c, QEMU_IO + 3 * MIB + 4096, 4096]
  ]
  const zeroed: Place[] = [
    [0, QEMU_IO + 65_536, 131_072],
    [0, QEMU_IO + 512 * 1024 + 512, 8192]
  ]
  const discarded: Place[] = [[0, QEMU_IO + 1536 * 1024, 262_144]]
  const fua: Place[] = [[0x77, QEMU_IO + 1600 * 1024, 12_288]]
  const commands = [
    ...written.map(([pattern, offset, bytes]) => `write -P ${pattern} ${offset} ${bytes}`),
    'flush',
    ...zeroed.map(([, offset, bytes]) => `write -z ${offset} ${bytes}`),
    ...discarded.map(([, offset, bytes]) => `discard ${offset} ${bytes}`),
    ...fua.map(([pattern, offset, bytes]) => `write -f -P ${pattern} ${offset} ${bytes}`),
    'flush'
  ]
  for (const [pattern, offset, bytes] of [...written, ...zeroed, ...discarded, ...fua]) {
    await expected.write(Buffer.alloc(bytes, pattern), 0, bytes, offset)
  }
  // Places that nothing wrote to again.
  for (const [pattern, offset, bytes] of [written[2], ...zeroed, ...fua]) {
    commands.push(`read -P ${pattern} ${offset} ${bytes}`)
  }
  commands.push(`read -P 90 ${QEMU_IO} 65536`, `read -P 0 ${discarded[0][1]} 65536`)
  const args = commands.flatMap((command) => ['-c', command])
  const out = await tool('qemu-io', '-f', 'raw', ...args, uri)
  if (/fail|error|not supported/i.test(out)) throw new Error(`qemu-io said ${out}`)
}

async function nbdsh(uri: string, random: Random, expected: FileHandle): Promise<void> {
  const data = random.bytes(40_000)
  const at = LIBNBD + 4321
  const script = `
import os
data = bytes.fromhex(os.environ['DATA'])
at = ${at}
h.pwrite(data, at, nbd.CMD_FLAG_FUA)
assert h.pread(len(data), at) == data
h.zero(8192, at + 16384)
h.trim(65536, ${LIBNBD + 4 * MIB})
buffers = [nbd.Buffer.from_bytearray(bytearray([i + 1]) * 4096) for i in range(32)]
pending = {h.aio_pwrite(b, ${LIBNBD + 5 * MIB} + 8192 * i) for i, b in enumerate(buffers)}
while pending:
    pending = {c for c in pending if not h.aio_command_completed(c)}
    if pending: h.poll(1000)
h.flush()
assert h.pread(8192, at + 16384) == bytes(8192)
assert h.pread(65536, ${LIBNBD + 4 * MIB}) == bytes(65536)
for i in range(32): assert h.pread(4096, ${LIBNBD + 5 * MIB} + 8192 * i) == bytes([i + 1]) * 4096
failed = 0
for request in (lambda: h.pread(4096, ${SIZE_BYTES}), lambda: h.pwrite(bytes(4096), ${SIZE_BYTES} - 512)):
    try: request()
    except nbd.Error: failed += 1
assert failed == 2, 'out of range'
`
  // libnbd's module belongs to Debian's Python, whatever other one comes first.
  const env = { ...process.env, PATH: '/usr/bin:/bin', DATA: data.toString('hex') }
  const set = ['-c', 'h.set_strict_mode(0)', '-u', uri]
  await promisify(execFile)('nbdsh', [...set, '-c', script], { env, timeout: CLIENT_MS })
  data.fill(0, 16_384, 16_384 + 8192)
  await expected.write(data, 0, data.byteLength, at)
  await expected.write(Buffer.alloc(65_536), 0, 65_536, LIBNBD + 4 * MIB)
  for (let i = 0; i < 32; i++) {
    await expected.write(Buffer.alloc(4096, i + 1), 0, 4096, LIBNBD + 5 * MIB + 8192 * i)
  }
}

/** Runs a shell command with nbdkit, as our client, between it and its region of the export. */
async function nbdkit(uri: string, command: string): Promise<void> {
  const region = [`offset=${NBDKIT}`, `range=${NBDKIT_BYTES}`]
  const plugin = ['--filter=offset', 'nbd', `uri=${uri}`, ...region]
  await tool('nbdkit', '--exit-with-parent', '-U', '-', ...plugin, '--run', command)
}

async function readAll(file: string, into: Buffer, offset: number): Promise<void> {
  const handle = await open(file, 'r')
  try {
    const { bytesRead } = await handle.read(into, 0, into.byteLength, offset)
    if (bytesRead !== into.byteLength) throw new Error(`${file} is too short`)
  } finally {
    await handle.close()
  }
}
