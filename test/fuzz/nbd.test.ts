/** Random and half-right bytes at every stage of the protocol. The server answers, or drops that client; it lives. */
import test, { type Assert } from 'brittle'
import { MemoryDevice } from '../../lib/block/memory-device.ts'
import { SlowDevice } from '../helpers/faulty-device.ts'
import { NbdClient, contexts, encodeRequest, infoRequest, words } from '../helpers/nbd-client.ts'
import { startNbdServer, until } from '../helpers/nbd-server.ts'
import { Random } from '../helpers/random.ts'

const ROUNDS = Number(process.env['FUZZ_ROUNDS'] ?? 300)
const SIZE = 1024 * 1024

async function start(t: Assert) {
  const errors: unknown[] = []
  const memory = new MemoryDevice(SIZE)
  const random = new Random()
  t.comment(`SEED=${random.seed}`)
  const server = await startNbdServer(t, {
    exports: { disk0: memory, slow: new SlowDevice(memory, () => random.int(0, 2)) },
    defaultExport: 'disk0',
    onerror: (err) => errors.push(err)
  })
  const check = async () => {
    t.alike(errors, [], 'no device was asked for anything that it cannot do')
    const client = await NbdClient.open(server.socketPath)
    t.is((await client.read(0, 4096)).byteLength, 4096, 'the server serves on')
    client.destroy()
    t.ok(await until(() => server.connections === 0), 'no connection is left')
    t.is(server.memoryBytes, 0, 'and no memory')
  }
  return { server, random, check }
}

test('nbd fuzz: negotiation', async (t) => {
  const { server, random, check } = await start(t)
  for (let round = 0; round < ROUNDS; round++) {
    const client = await NbdClient.connect(server.socketPath)
    const bytes = Buffer.concat(
      Array.from({ length: random.int(1, 5) }, () => mutate(random, randomOption(random)))
    )
    await sendInPieces(client, random, bytes)
    client.destroy()
  }
  await check()
})

test('nbd fuzz: transmission', async (t) => {
  const { server, random, check } = await start(t)
  for (let round = 0; round < ROUNDS; round++) {
    const structured = random.chance(0.5)
    const client = await NbdClient.open(server.socketPath, {
      name: random.pick(['disk0', 'slow']),
      structured,
      blockStatus: structured
    })
    const bytes = Buffer.concat(
      Array.from({ length: random.int(1, 20) }, () => mutate(random, randomRequest(random)))
    )
    await sendInPieces(client, random, bytes)
    if (random.chance(0.5)) await new Promise((resolve) => setTimeout(resolve, 1))
    client.destroy()
  }
  await check()
})

/** Right in form, wrong in content; once in a while wrong in form too. */
function mutate(random: Random, bytes: Buffer): Buffer {
  if (random.chance(0.8)) return bytes
  const copy = Buffer.from(bytes)
  for (let i = random.int(1, 3); i > 0; i--) {
    copy[random.int(0, copy.byteLength - 1)] = random.int(0, 255)
  }
  return random.chance(0.3) ? copy.subarray(0, random.int(1, copy.byteLength)) : copy
}

function randomOption(random: Random): Buffer {
  const name = random.pick(['', 'disk0', 'slow', 'nope', 'x'.repeat(5000)])
  const data = random.pick([
    Buffer.alloc(0),
    random.bytes(random.int(0, 200)),
    infoRequest(
      name,
      ...Array.from({ length: random.int(0, 5) }, () => random.int(0, 70_000) & 0xffff)
    ),
    contexts(name, random.pick(['base:allocation', 'base:', 'x'])),
    Buffer.from(name)
  ])
  const length = random.chance(0.1) ? random.int(0, 2 ** 32 - 1) : data.byteLength
  const option = random.chance(0.1) ? random.int(0, 2 ** 32 - 1) : random.int(1, 11)
  return Buffer.concat([words(0x49484156, 0x454f5054, option, length), data])
}

function randomRequest(random: Random): Buffer {
  const type = random.chance(0.1) ? random.int(0, 65_535) : random.int(0, 7)
  const offset = random.pick([0, SIZE, SIZE - 1, random.int(0, SIZE), random.int(0, 2 ** 53 - 1)])
  const length = random.pick([0, 1, 512, 4096, random.int(0, SIZE), random.int(0, 2 ** 32 - 1)])
  const flags = random.chance(0.5) ? 0 : random.int(0, 65_535)
  const payload = type === 1 ? random.bytes(Math.min(length, 70_000)) : undefined
  return encodeRequest({ type, flags, offset, length, payload, cookie: random.int(0, 1000) })
}

async function sendInPieces(client: NbdClient, random: Random, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.byteLength && !client.closed;) {
    const length = random.chance(0.5) ? bytes.byteLength : random.int(1, 5000)
    client.write(bytes.subarray(at, at + length))
    at += length
    if (random.chance(0.3)) await new Promise((resolve) => setImmediate(resolve))
  }
}
