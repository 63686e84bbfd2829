import { existsSync } from 'node:fs'
import test from 'brittle'
import { MemoryDevice } from '../../../lib/block/memory-device.ts'
import { CMD } from '../../../lib/block/nbd/protocol.ts'
import { SlowDevice, WaitingDevice } from '../../helpers/faulty-device.ts'
import { NbdClient, encodeRequest } from '../../helpers/nbd-client.ts'
import { startNbdServer, until } from '../../helpers/nbd-server.ts'

const MiB = 1024 * 1024

test('nbd limits: 64 clients at once, and a flush sees the writes of all', async (t) => {
  const device = new SlowDevice(new MemoryDevice(64 * MiB), () => 1)
  const server = await startNbdServer(t, { exports: { disk0: device } })
  const clients = await Promise.all(
    Array.from({ length: 64 }, () => NbdClient.open(server.socketPath))
  )
  t.is(server.connections, 64)
  const payloads = clients.map((_, i) => Buffer.alloc(100_000, i + 1))
  const written = await Promise.all(
    clients.map((c, i) => c.ask({ type: CMD.WRITE, offset: i * MiB, payload: payloads[i] }))
  )
  t.ok(written.every(({ error }) => error === 0))
  const good = await Promise.all(
    clients.map(async (client, i) => {
      const other = (i + 1) % 64
      return (await client.read(other * MiB, 100_000)).equals(payloads[other])
    })
  )
  t.ok(good.every(Boolean))
  t.is((await clients[0].ask({ type: CMD.FLUSH })).error, 0)
  for (const client of clients) client.destroy()
  t.ok(await until(() => server.connections === 0))
  t.is(server.memoryBytes, 0)
})

test('nbd limits: one client too many is turned away', async (t) => {
  const exports = { disk0: new MemoryDevice(MiB) }
  const server = await startNbdServer(t, { exports, connectionsMax: 2 })
  const first = await NbdClient.open(server.socketPath)
  const second = await NbdClient.open(server.socketPath)
  await t.exception(NbdClient.open(server.socketPath))
  second.destroy()
  t.ok(await until(() => server.connections === 1))
  const third = await NbdClient.open(server.socketPath)
  t.is((await third.read(0, 1)).byteLength, 1)
  for (const client of [first, third]) client.destroy()
})

test('nbd limits: a client killed while its reads wait leaves nothing behind', async (t) => {
  const device = new WaitingDevice(new MemoryDevice(64 * MiB))
  const server = await startNbdServer(t, { exports: { disk0: device } })
  const client = await NbdClient.open(server.socketPath)
  for (let i = 0; i < 200; i++) client.send({ type: CMD.READ, offset: i * 4096, length: 4096 })
  for (let i = 0; i < 4; i++) client.send({ type: CMD.READ, offset: 0, length: MiB })
  t.ok(await until(() => device.held === 204))
  t.ok(server.memoryBytes > 4 * MiB)
  client.destroy()
  t.ok(await until(() => server.connections === 0), 'the connection is gone at once')
  device.release()
  t.ok(await until(() => server.memoryBytes === 0), 'its memory when the device let go')
  const next = await NbdClient.open(server.socketPath)
  t.is((await next.read(0, 4096)).byteLength, 4096)
  next.destroy()
})

test('nbd limits: a client killed in the middle of a write changes nothing', async (t) => {
  const device = new MemoryDevice(MiB)
  const server = await startNbdServer(t, { exports: { disk0: device } })
  const client = await NbdClient.open(server.socketPath)
  const write = encodeRequest({ type: CMD.WRITE, payload: Buffer.alloc(200_000, 1) })
  client.write(write.subarray(0, 150_000))
  t.ok(await until(() => server.memoryBytes > 0))
  client.destroy()
  t.ok(await until(() => server.connections === 0))
  t.is(server.memoryBytes, 0)
  t.is(device.allocatedBytes, 0)
})

test('nbd limits: a client that never reads cannot fill the memory', async (t) => {
  const device = new MemoryDevice(64 * MiB)
  device.pwrite(Buffer.alloc(64 * MiB, 1), 0, false)
  const server = await startNbdServer(t, { exports: { disk0: device } })
  const client = await NbdClient.open(server.socketPath)
  client.socket.pause()
  for (let i = 0; i < 2000; i++) client.send({ type: CMD.READ, offset: 0, length: MiB })
  const other = await NbdClient.open(server.socketPath)
  let peak = 0
  for (let i = 0; i < 50; i++) {
    await other.read(i * MiB, 100_000)
    peak = Math.max(peak, server.memoryBytes)
  }
  t.ok(peak >= MiB && peak <= 4 * MiB, `${peak} bytes for the asked 2000 MiB`)
  for (const c of [client, other]) c.destroy()
  t.ok(await until(() => server.memoryBytes === 0))
})

test('nbd limits: one client whose reads wait does not starve the others', async (t) => {
  const memory = new MemoryDevice(64 * MiB)
  const waiting = new WaitingDevice(memory)
  const server = await startNbdServer(t, {
    exports: { waiting, memory },
    memoryBytesMax: 4 * MiB
  })
  const greedy = await NbdClient.open(server.socketPath, { name: 'waiting' })
  for (let i = 0; i < 100; i++) greedy.send({ type: CMD.READ, offset: 0, length: MiB })
  t.ok(await until(() => waiting.held > 0))
  const other = await NbdClient.open(server.socketPath, { name: 'memory' })
  for (let i = 0; i < 20; i++) t.ok((await other.read(0, 500_000)).byteLength === 500_000)
  t.ok(waiting.held < 10, `${waiting.held} of 100 were started`)
  waiting.release()
  for (let i = 0; i < 100; i++) {
    await greedy.reply()
    await greedy.bytes(MiB)
  }
  t.pass('in the end all are answered')
  t.is((await greedy.read(0, 10)).byteLength, 10, 'and it is listened to again')
  t.is((await other.read(0, 8 * MiB)).byteLength, 8 * MiB, 'one that is larger than the limit too')
  for (const client of [greedy, other]) client.destroy()
})

test('nbd limits: one client has a limit of its own', async (t) => {
  const device = new WaitingDevice(new MemoryDevice(MiB))
  const server = await startNbdServer(t, { exports: { device }, memoryBytesMax: 1024 * MiB })
  const client = await NbdClient.open(server.socketPath)
  for (let i = 0; i < 200; i++) client.send({ type: CMD.READ, offset: 0, length: MiB })
  await until(() => device.held > 34, 300)
  t.is(device.held, 34)
  client.destroy()
  device.release()
  t.ok(await until(() => server.memoryBytes === 0))
})

test('nbd limits: a large request waits for the room that another client gives back', async (t) => {
  const waiting = new WaitingDevice(new MemoryDevice(8 * MiB))
  const exports = { waiting, memory: new MemoryDevice(8 * MiB) }
  const server = await startNbdServer(t, { exports, memoryBytesMax: 4 * MiB })
  const first = await NbdClient.open(server.socketPath, { name: 'waiting' })
  const second = await NbdClient.open(server.socketPath, { name: 'memory' })
  const held = first.read(0, 3 * MiB)
  t.ok(await until(() => waiting.held === 1))
  const blocked = second.read(0, 2 * MiB)
  const winner = await Promise.race([
    blocked.then(() => 'answered'),
    new Promise((resolve) => setTimeout(resolve, 100, 'waits'))
  ])
  t.is(winner, 'waits')
  waiting.release()
  t.is((await held).byteLength, 3 * MiB)
  t.is((await blocked).byteLength, 2 * MiB)
  for (const client of [first, second]) client.destroy()
})

test('nbd limits: closing an export lets its clients go, and only them', async (t) => {
  const slow = new SlowDevice(new MemoryDevice(MiB), () => 50)
  const server = await startNbdServer(t, { exports: { slow, fast: new MemoryDevice(MiB) } })
  const client = await NbdClient.open(server.socketPath, { name: 'slow' })
  const other = await NbdClient.open(server.socketPath, { name: 'fast' })
  client.send({ type: CMD.WRITE, payload: Buffer.alloc(10) })
  await new Promise((resolve) => setTimeout(resolve, 20))
  const started = performance.now()
  const closed = server.closeExport('slow')
  t.is((await client.reply()).error, 0, 'what it had asked is answered')
  await client.ended()
  await closed
  t.ok(performance.now() - started < 1000, 'as soon as it is idle')
  await t.exception(NbdClient.open(server.socketPath, { name: 'slow' }))
  t.is((await other.read(0, 10)).byteLength, 10)
  server.addExport('slow', new MemoryDevice(123))
  const again = await NbdClient.open(server.socketPath, { name: 'slow' })
  for (const c of [other, again]) c.destroy()
})

test('nbd limits: close waits for answers, but not without end', async (t) => {
  const device = new WaitingDevice(new MemoryDevice(MiB))
  const server = await startNbdServer(t, { exports: { disk0: device }, closeGraceMs: 200 })
  const client = await NbdClient.open(server.socketPath)
  client.send({ type: CMD.READ, length: 4096 })
  t.ok(await until(() => device.held === 1))
  const started = performance.now()
  await server.close()
  const took = performance.now() - started
  t.ok(took >= 150 && took < 2000, `${took} ms`)
  await client.ended()
  t.absent(existsSync(server.socketPath), 'the socket file is gone')
  device.release()
  t.ok(await until(() => server.memoryBytes === 0))
  await server.close()
})

test('nbd limits: a stale socket is replaced, a living one is not', async (t) => {
  const exports = { disk0: new MemoryDevice(MiB) }
  const server = await startNbdServer(t, { exports })
  const { NbdServer } = await import('../../../lib/block/nbd/server.ts')
  const second = new NbdServer({ socketPath: server.socketPath, exports })
  await t.exception(second.ready(), { code: 'SOCKET_IN_USE' })
  const client = await NbdClient.open(server.socketPath)
  t.is((await client.read(0, 1)).byteLength, 1, 'the first one still serves')
  client.destroy()
})
