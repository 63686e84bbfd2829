import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import test, { type Assert } from 'brittle'
import HyperDHT from 'hyperdht'
import type { Connection } from 'hyperswarm'
import { systemClock } from '../../../lib/base/clock.ts'
import { encodePrelude, type Endpoint } from '../../../lib/format/lan.ts'
import { CallLimits } from '../../../lib/net/lan/call-limits.ts'
import { dial } from '../../../lib/net/lan/dial.ts'
import { createHello } from '../../../lib/net/lan/hello.ts'
import { Listener } from '../../../lib/net/lan/listener.ts'
import { Fleet } from '../../helpers/networks.ts'
import { until } from '../../helpers/until.ts'

const at = { name: 'lo', address: '127.0.0.1', prefix: 8 }

async function listen(t: Assert, patienceMs = 60_000) {
  const secret = randomBytes(32)
  const keyPair = HyperDHT.keyPair()
  const connections: Connection[] = []
  const listener = new Listener({
    at,
    limits: new CallLimits(systemClock),
    port: 0,
    identities: () => [{ secret, keyPair }],
    onconnection: (connection) => connections.push(connection),
    patienceMs
  })
  const endpoint: Endpoint = { host: at.address, port: await listener.listen() }
  t.teardown(() => {
    listener.close()
    for (const connection of connections) connection.destroy()
  })
  return { endpoint, target: { secret, publicKey: keyPair.publicKey }, connections }
}

/** Everything that is answered to these bytes before the end. */
async function answer({ host, port }: Endpoint, bytes: Buffer): Promise<number> {
  const socket = net.connect({ host, port })
  socket.on('error', () => {})
  let count = 0
  socket.on('data', (data) => (count += data.byteLength))
  await once(socket, 'connect')
  socket.write(bytes)
  await once(socket, 'close')
  return count
}

test('a caller proves its key, and the one who is called too', async (t) => {
  const { endpoint, target, connections } = await listen(t)
  const keyPair = HyperDHT.keyPair()
  const connection = (await dial(endpoint, at, keyPair, target))!
  await until(() => connections.length === 1)
  t.alike(connections[0].remotePublicKey, keyPair.publicKey)
  t.alike(connection.remotePublicKey, target.publicKey)
  connections[0].on('data', (data: Buffer) => connections[0].write(data))
  connection.write('hello')
  t.is(String((await once(connection, 'data'))[0]), 'hello')
  connection.destroy()
})

test('who does not know whom it calls hears nothing', async (t) => {
  const { endpoint, target, connections } = await listen(t)
  t.is(await answer(endpoint, randomBytes(100)), 0)
  t.is(await answer(endpoint, encodePrelude(randomBytes(24))), 0)
  const stranger = { secret: randomBytes(32), publicKey: target.publicKey }
  t.is(await dial(endpoint, at, HyperDHT.keyPair(), stranger), null)
  const heard = encodePrelude(createHello(target))
  const noise = Buffer.concat([Buffer.from([96, 0, 0]), randomBytes(96)])
  t.is(await answer(endpoint, Buffer.concat([heard, noise])), 0, 'a hello that was overheard')
  t.is(connections.length, 0)
})

test('somebody else who answers is found out', async (t) => {
  const { endpoint, target } = await listen(t)
  const liar = net.createServer((socket) => {
    const real = net.connect(endpoint)
    socket
      .on('error', () => {})
      .once('data', (data: Buffer) => {
        real.write(data.subarray(0, 29))
        socket.write(randomBytes(51))
        real.destroy()
      })
  })
  liar.listen(0, at.address)
  await once(liar, 'listening')
  t.teardown(() => void liar.close())
  const { port } = liar.address() as net.AddressInfo
  t.is(await dial({ host: at.address, port }, at, HyperDHT.keyPair(), target), null)
})

test('a device that is no member is disconnected before anything is said', async (t) => {
  const fleet = await Fleet.silent(t)
  const home = await fleet.device({ lan: {} })
  const stranger = HyperDHT.keyPair()
  // It knows the topic and the key of a member: a device that was removed does.
  const target = { secret: fleet.topic, publicKey: home.keyPair.publicKey }
  const port = await new Promise<number>((resolve) => {
    const look = setInterval(() => {
      const [endpoint] = home.network.lanEndpoints
      if (endpoint === undefined) return
      clearInterval(look)
      resolve(endpoint.port)
    }, 10)
  })
  const connection = await dial({ host: at.address, port }, at, stranger, target)
  connection?.on('error', () => {})
  let bytes = 0
  connection?.on('data', (data: Buffer) => (bytes += data.byteLength))
  if (connection !== null && !connection.destroyed) await once(connection, 'close')
  t.is(bytes, 0)
  t.is(home.network.peers().length, 0)
  t.is(home.network.pairingSwarm.connections.size, 0)
})

test('half-open calls do not keep others out for ever', { timeout: 120_000 }, async (t) => {
  const { endpoint, target } = await listen(t, 3000)
  const idle = Array.from({ length: 20 }, () => net.connect(endpoint))
  for (const socket of idle) socket.on('error', () => {})
  t.teardown(() => idle.forEach((socket) => socket.destroy()))
  await until(() => idle.filter((socket) => socket.closed).length === 12)
  t.is(await dial(endpoint, at, HyperDHT.keyPair(), target), null)
  await until(() => idle.every((socket) => socket.closed))
  const connection = await dial(endpoint, at, HyperDHT.keyPair(), target)
  t.ok(connection)
  connection?.destroy()
})
