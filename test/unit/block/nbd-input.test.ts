import test from 'brittle'
import { MemoryDevice } from '../../../lib/block/memory-device.ts'
import { ByteQueue } from '../../../lib/block/nbd/byte-queue.ts'
import { InputMemory } from '../../../lib/block/nbd/input-memory.ts'
import { CMD } from '../../../lib/block/nbd/protocol.ts'
import { WaitingDevice } from '../../helpers/faulty-device.ts'
import { NbdClient } from '../../helpers/nbd-client.ts'
import { startNbdServer, until } from '../../helpers/nbd-server.ts'
import { Random } from '../../helpers/random.ts'

const MiB = 1024 * 1024

test('nbd input: what a device still holds stays as it was, whatever comes behind it', async (t) => {
  const random = new Random()
  t.comment(`SEED=${random.seed}`)
  const device = new WaitingDevice(new MemoryDevice(64 * MiB), ['pwrite'])
  const server = await startNbdServer(t, { exports: { disk0: device } })
  const client = await NbdClient.open(server.socketPath)
  const payloads = Array.from({ length: 120 }, () => {
    const length = random.chance(0.1) ? random.int(200_000, MiB / 2) : random.int(1, 20_000)
    return Buffer.alloc(length, random.int(1, 255))
  })
  for (const [i, payload] of payloads.entries()) {
    client.send({ type: CMD.WRITE, offset: (i * MiB) / 2, payload })
  }
  t.ok(await until(() => device.held === payloads.length), 'the device holds all of them')
  device.release()
  let good = true
  for (let i = 0; i < payloads.length; i++) good &&= (await client.reply()).error === 0
  for (const [i, payload] of payloads.entries()) {
    good &&= (await client.read((i * MiB) / 2, payload.byteLength)).equals(payload)
  }
  t.ok(good, 'each is what was sent')
  client.destroy()
  t.ok(await until(() => server.memoryBytes === 0))
})

test('nbd input: memory is filled again when nothing refers to it, and not before', (t) => {
  const memory = new InputMemory()
  const queue = new ByteQueue()
  const receive = (byte: number, bytes: number) => {
    const room = memory.room()
    room.fill(byte, 0, bytes)
    queue.push(memory.received(bytes), bytes)
    return room.buffer
  }
  const first = receive(1, 100_000)
  t.is(receive(2, 100_000), first, 'more goes behind it')
  t.is(queue.take(200_000).byteLength, 200_000, 'and is one piece with it')
  const held = queue.slab!
  held.refs++
  const second = receive(3, 100_000)
  t.not(second, first, 'it is held')
  t.alike(
    [...held.buffer.subarray(0, 200_000)].findIndex((byte) => byte === 3),
    -1
  )
  held.refs--
  queue.skip(100_000)
  t.is(receive(4, 1), second, 'nothing refers to it')
  const payload = memory.take(200_000)
  t.is(payload.buffer.buffer, first, 'and to the first one')
  t.not(memory.take(200_000).buffer.buffer, first, 'which has one owner')
})
