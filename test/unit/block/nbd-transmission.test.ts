import test, { type Assert } from 'brittle'
import { MemoryDevice } from '../../../lib/block/memory-device.ts'
import { CMD, CMD_FLAG, NBD_ERROR, REPLY_TYPE } from '../../../lib/block/nbd/protocol.ts'
import type { BlockDevice } from '../../../lib/block/device.ts'
import { DeviceDecorator, FailingDevice, SlowDevice } from '../../helpers/faulty-device.ts'
import { NbdClient, encodeRequest } from '../../helpers/nbd-client.ts'
import { startNbdServer } from '../../helpers/nbd-server.ts'
import { Random } from '../../helpers/random.ts'

const MiB = 1024 * 1024
const SIZE = 8 * MiB

async function open(
  t: Assert,
  device: BlockDevice,
  opts: { structured?: boolean; blockStatus?: boolean } = {}
) {
  const errors: unknown[] = []
  const server = await startNbdServer(t, {
    exports: { disk0: device },
    onerror: (err) => errors.push(err)
  })
  const client = await NbdClient.open(server.socketPath, opts)
  t.teardown(() => client.destroy(), { order: -1, force: true })
  return { client, server, errors }
}

for (const structured of [false, true]) {
  const kind = structured ? 'structured' : 'simple'

  test(`nbd: reads what was written, ${kind} replies`, async (t) => {
    const { client } = await open(t, new MemoryDevice(SIZE), { structured })
    const random = new Random(2)
    for (const length of [1, 511, 4096, 65_536, 65_537, 1_000_001, 4 * MiB]) {
      const payload = random.bytes(length)
      const offset = random.int(0, SIZE - length)
      t.is((await client.ask({ type: CMD.WRITE, offset, payload })).error, 0)
      t.ok((await client.read(offset, length)).equals(payload), `${length} bytes`)
    }
    t.is((await client.read(100, 0)).byteLength, 0, 'nothing, successfully')
    t.is((await client.ask({ type: CMD.WRITE, offset: 5, length: 0 })).error, 0)
  })

  test(`nbd: refuses what does not fit and lives, ${kind} replies`, async (t) => {
    const { client } = await open(t, new MemoryDevice(SIZE), { structured })
    const { EINVAL, ENOSPC, ENOTSUP } = NBD_ERROR
    const cases: [string, number, number, number, number, number][] = [
      ['read beyond the end', CMD.READ, 0, SIZE - 10, 11, EINVAL],
      ['read far beyond', CMD.READ, 0, Number.MAX_SAFE_INTEGER, 1, EINVAL],
      ['read too much', CMD.READ, 0, 0, 33 * MiB, EINVAL],
      ['read 4 GiB', CMD.READ, 0, 0, 0xffffffff, EINVAL],
      ['read with unknown flags', CMD.READ, 0x4000, 0, 1, EINVAL],
      ['trim beyond the end', CMD.TRIM, 0, SIZE, 1, EINVAL],
      ['zeroes beyond the end', CMD.WRITE_ZEROES, 0, 1, SIZE, ENOSPC],
      [
        'reserving zeroes fast',
        CMD.WRITE_ZEROES,
        CMD_FLAG.NO_HOLE | CMD_FLAG.FAST_ZERO,
        0,
        1,
        ENOTSUP
      ],
      ['flush of a range', CMD.FLUSH, 0, 0, 5, EINVAL],
      ['status that was not negotiated', CMD.BLOCK_STATUS, 0, 0, 4096, EINVAL],
      ['an unknown command', 99, 0, 0, 0, EINVAL],
      ['CACHE', 5, 0, 0, 1, EINVAL]
    ]
    for (const [name, type, flags, offset, length, error] of cases) {
      const reply = await client.ask({ type, flags, offset, length, cookie: 0xabcdef })
      t.is(reply.error, error, name)
      t.is(reply.cookie, 0xabcdef)
    }
    const beyond = { type: CMD.WRITE, offset: SIZE - 1, payload: Buffer.alloc(100_000, 1) }
    t.is((await client.ask(beyond)).error, ENOSPC, 'write beyond the end')
    const payload = Buffer.alloc(33 * MiB, 1)
    t.is((await client.ask({ type: CMD.WRITE, payload })).error, EINVAL, 'write too much')
    t.is((await client.read(SIZE - 1, 1))[0], 0, 'nothing was written, the framing is intact')
  })

  test(`nbd: errors of the device reach the client, ${kind} replies`, async (t) => {
    const codes: Record<number, [string, number]> = {
      0: ['DISK_FULL', NBD_ERROR.ENOSPC],
      4096: ['DATA_CORRUPT', NBD_ERROR.EIO],
      8192: ['READ_ONLY', NBD_ERROR.EPERM],
      12288: ['ANYTHING', NBD_ERROR.EIO]
    }
    for (const late of [false, true]) {
      const device = new FailingDevice(
        new MemoryDevice(SIZE),
        (_operation, offset) => codes[offset]?.[0] ?? null,
        { late }
      )
      const { client, errors, server } = await open(t, device, {
        structured,
        blockStatus: structured
      })
      for (const [offset, [code, error]] of Object.entries(codes)) {
        const at = { offset: Number(offset), length: 512 }
        const payload = Buffer.alloc(512)
        t.is((await client.ask({ type: CMD.READ, ...at })).error, error, code)
        t.is((await client.ask({ type: CMD.WRITE, offset: at.offset, payload })).error, error)
        t.is((await client.ask({ type: CMD.TRIM, ...at })).error, error)
        t.is((await client.ask({ type: CMD.WRITE_ZEROES, ...at })).error, error)
        if (structured) t.is((await client.ask({ type: CMD.BLOCK_STATUS, ...at })).error, error)
      }
      t.is((await client.ask({ type: CMD.FLUSH })).error, NBD_ERROR.ENOSPC)
      t.is(errors.length, structured ? 21 : 17, 'each was reported once')
      t.is((await client.read(20_000, 10)).byteLength, 10)
      t.is(server.memoryBytes, 0)
    }
  })
}

test('nbd: a read-only export refuses changes', async (t) => {
  const { client } = await open(t, new MemoryDevice(SIZE, { readOnly: true }))
  const payload = Buffer.alloc(100_000)
  t.is((await client.ask({ type: CMD.WRITE, payload })).error, NBD_ERROR.EPERM)
  t.is((await client.ask({ type: CMD.TRIM, length: 1 })).error, NBD_ERROR.EPERM)
  t.is((await client.ask({ type: CMD.WRITE_ZEROES, length: 1 })).error, NBD_ERROR.EPERM)
  t.is((await client.ask({ type: CMD.FLUSH })).error, 0)
  t.is((await client.read(0, 4096)).byteLength, 4096)
})

test('nbd: a bad magic drops that connection alone', async (t) => {
  const { client, server } = await open(t, new MemoryDevice(SIZE))
  const bad = await NbdClient.open(server.socketPath)
  bad.send({ type: CMD.READ, length: 1, magic: 0x12345678 })
  await bad.ended()
  t.is((await client.read(0, 1)).byteLength, 1)
})

test('nbd: holes are told, not sent', async (t) => {
  const device = new MemoryDevice(SIZE)
  device.pwrite(Buffer.alloc(10, 1), 3 * MiB, false)
  const { client } = await open(t, device, { structured: true, blockStatus: true })
  const hole = await client.ask({ type: CMD.READ, offset: MiB, length: MiB })
  t.is(hole.chunk!.type, REPLY_TYPE.OFFSET_HOLE)
  t.is(hole.chunk!.payload.readUInt32BE(8), MiB)
  const data = await client.ask({ type: CMD.READ, offset: 3 * MiB, length: 100_000 })
  t.is(data.chunk!.type, REPLY_TYPE.OFFSET_DATA)
  t.is(data.chunk!.payload[8], 1)
  const both = await client.ask({ type: CMD.READ, offset: MiB, length: 3 * MiB })
  t.is(both.chunk!.type, REPLY_TYPE.OFFSET_DATA, 'a hole that ends within the range')
  t.is(both.chunk!.payload[8 + 2 * MiB], 1)

  const status = (await client.ask({ type: CMD.BLOCK_STATUS, offset: MiB, length: SIZE - MiB }))
    .chunk!
  t.is(status.type, REPLY_TYPE.BLOCK_STATUS)
  t.alike(words(status.payload), [1, 2 * MiB, 3, MiB, 0, 4 * MiB, 3])
  const one = { type: CMD.BLOCK_STATUS, flags: CMD_FLAG.REQ_ONE, offset: MiB, length: SIZE - MiB }
  t.alike(words((await client.ask(one)).chunk!.payload), [1, 2 * MiB, 3])
  const nothing = await client.ask({ type: CMD.BLOCK_STATUS, length: 0 })
  t.is(nothing.error, NBD_ERROR.EINVAL)
})

test('nbd: many requests in one packet, and one request in many', async (t) => {
  const { client, server } = await open(t, new MemoryDevice(SIZE))
  const random = new Random(3)
  const image = random.bytes(MiB)
  const writes: Buffer[] = []
  for (let at = 0; at < MiB; at += 4096) {
    const payload = image.subarray(at, at + 4096)
    writes.push(encodeRequest({ type: CMD.WRITE, cookie: at, offset: at, payload }))
  }
  client.write(Buffer.concat(writes))
  for (let at = 0; at < MiB; at += 4096)
    if ((await client.reply()).cookie !== at) t.fail('out of order')
  t.ok((await client.read(0, MiB)).equals(image))

  const bytes = encodeRequest({ type: CMD.WRITE, offset: 0, payload: Buffer.alloc(50, 9) })
  for (const byte of bytes) {
    client.write(Buffer.from([byte]))
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.is((await client.reply()).error, 0)
  t.ok((await client.read(0, 50)).equals(Buffer.alloc(50, 9)))
  t.is(server.memoryBytes, 0, 'all memory was given back')
})

test('nbd: replies in any order carry their own data', async (t) => {
  const device = new MemoryDevice(SIZE)
  const random = new Random()
  t.comment(`SEED=${random.seed}`)
  const image = random.bytes(SIZE)
  device.pwrite(image, 0, false)
  const slow = new SlowDevice(device, () => random.int(0, 5))
  const { client, server } = await open(t, slow)
  const asked = new Map<number, { offset: number; length: number }>()
  for (let cookie = 0; cookie < 500; cookie++) {
    const length = random.int(1, 40_000)
    const offset = random.int(0, SIZE - length)
    asked.set(cookie, { offset, length })
    client.send({ type: CMD.READ, cookie, offset, length })
  }
  let wrong = 0
  let lastCookie = -1
  let reordered = false
  for (let i = 0; i < 500; i++) {
    const { cookie, error } = await client.reply()
    const { offset, length } = asked.get(cookie)!
    const data = await client.bytes(length)
    if (error !== 0 || !data.equals(image.subarray(offset, offset + length))) wrong++
    if (cookie < lastCookie) reordered = true
    lastCookie = cookie
    asked.delete(cookie)
  }
  t.is(wrong, 0)
  t.ok(reordered, 'the test saw replies out of order')
  t.is(asked.size, 0)
  t.is(server.memoryBytes, 0)
})

test('nbd: one burst, answered in part at once and in part later', async (t) => {
  const device = new MemoryDevice(SIZE)
  const random = new Random()
  t.comment(`SEED=${random.seed}`)
  const image = random.bytes(SIZE)
  device.pwrite(image, 0, false)
  const { client, server } = await open(t, new SometimesLateDevice(device))
  const requests = Array.from({ length: 5000 }, (_, cookie) => {
    const length = random.int(1, 300)
    return { type: CMD.READ, cookie, offset: random.int(0, SIZE - length), length }
  })
  client.write(Buffer.concat(requests.map(encodeRequest)))
  let wrong = 0
  for (const _ of requests) {
    const { cookie, error } = await client.reply()
    const { offset, length } = requests[cookie]
    const data = await client.bytes(length)
    if (error !== 0 || !data.equals(image.subarray(offset, offset + length))) wrong++
  }
  t.is(wrong, 0)
  t.is(server.memoryBytes, 0)
})

/** Answers every other read at once, the rest in the next turn, together. */
class SometimesLateDevice extends DeviceDecorator {
  #late = false
  protected override before(): void | Promise<void> {
    this.#late = !this.#late
    if (this.#late) return new Promise((resolve) => setImmediate(resolve))
  }
}

test('nbd: writes that the device finishes late are stored whole', async (t) => {
  const device = new MemoryDevice(SIZE)
  const { client, server } = await open(t, new SlowDevice(device, () => 3))
  const random = new Random(4)
  const image = random.bytes(SIZE)
  let count = 0
  for (let at = 0; at < SIZE; count++) {
    const length = Math.min(random.pick([512, 4096, 70_000, 300_000]), SIZE - at)
    const payload = image.subarray(at, at + length)
    client.send({ type: CMD.WRITE, flags: CMD_FLAG.FUA, offset: at, payload })
    at += length
  }
  for (let i = 0; i < count; i++) if ((await client.reply()).error !== 0) t.fail('a write failed')
  const stored = Buffer.alloc(SIZE)
  device.pread(stored, 0)
  t.ok(stored.equals(image))
  t.is(server.memoryBytes, 0)
})

test('nbd: DISC ends the connection after the answers', async (t) => {
  const { client } = await open(t, new SlowDevice(new MemoryDevice(SIZE), () => 20))
  client.send({ type: CMD.READ, length: 10 })
  client.send({ type: CMD.DISC })
  t.is((await client.reply()).error, 0)
  await client.bytes(10)
  await client.ended()
})

function words(payload: Buffer): number[] {
  return Array.from({ length: payload.byteLength / 4 }, (_, i) => payload.readUInt32BE(i * 4))
}
