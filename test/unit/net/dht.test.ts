import dgram from 'node:dgram'
import { once } from 'node:events'
import test from 'brittle'
import type { HyperparcelError } from '../../../lib/base/errors.ts'
import { PrivateDht } from '../../../lib/net/dht.ts'
import { createDht } from '../../helpers/networks.ts'

test('a port in use, an address of another machine', async (t) => {
  const dht = await createDht(t)
  t.alike(dht.bootstrap, [`127.0.0.1:${dht.port}`])
  const second = new PrivateDht({ port: dht.port })
  await t.exception(second.ready(), { code: 'PORT_IN_USE' })
  const socket = dgram.createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const taken = new PrivateDht({ port: socket.address().port })
  await t.exception(taken.ready(), { code: 'PORT_IN_USE' })
  socket.close()
  for (const host of ['no.address', '0.0.0.0', '::1', 'localhost']) {
    const elsewhere = new PrivateDht({ host, port: dht.port + 20 })
    const err = await elsewhere.ready().then(
      () => null,
      (thrown: HyperparcelError) => thrown
    )
    t.is(err?.code, 'USAGE', host)
    t.ok(err?.message.startsWith(host), err?.message)
    await elsewhere.close()
  }
})
