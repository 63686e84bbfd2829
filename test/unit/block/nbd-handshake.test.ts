import { statSync } from 'node:fs'
import test from 'brittle'
import { MemoryDevice } from '../../../lib/block/memory-device.ts'
import { OPT, REP, TRANSMISSION_FLAG as FLAG } from '../../../lib/block/nbd/protocol.ts'
import { NbdClient, contexts, infoRequest, words } from '../../helpers/nbd-client.ts'
import { startNbdServer, until } from '../../helpers/nbd-server.ts'

const MiB = 1024 * 1024
const disk = () => new MemoryDevice(MiB)

test('nbd handshake: greets with the fixed newstyle magic on a private socket', async (t) => {
  const server = await startNbdServer(t, { exports: { disk0: disk() } })
  t.is(statSync(server.socketPath).mode & 0o777, 0o600)
  const client = await NbdClient.connect(server.socketPath)
  client.destroy()
  t.ok(await until(() => server.connections === 0))
})

test('nbd handshake: GO tells size, flags and block sizes', async (t) => {
  const server = await startNbdServer(t, {
    exports: { disk0: disk(), cd: new MemoryDevice(123, { readOnly: true }) }
  })
  const client = await NbdClient.connect(server.socketPath)
  const info = await client.option(OPT.INFO, infoRequest('cd', 1))
  t.alike(
    info.map((reply) => reply.type),
    [REP.INFO, REP.INFO, REP.INFO, REP.ACK]
  )
  t.is(info[0].data.readBigUInt64BE(2), 123n)
  t.ok(info[0].data.readUInt16BE(10) & FLAG.READ_ONLY)
  t.absent(info[0].data.readUInt16BE(10) & FLAG.SEND_TRIM)
  t.alike([...info[1].data.subarray(2)], [...words(1, 4096, 32 * MiB)])
  t.is(info[2].data.toString('utf8', 2), 'cd')

  const go = await client.option(OPT.GO, infoRequest('disk0'))
  const flags = go[0].data.readUInt16BE(10)
  for (const name of [
    'HAS_FLAGS',
    'SEND_FLUSH',
    'SEND_FUA',
    'SEND_TRIM',
    'SEND_WRITE_ZEROES'
  ] as const) {
    t.ok(flags & FLAG[name], name)
  }
  t.ok(flags & FLAG.CAN_MULTI_CONN)
  t.absent(flags & FLAG.SEND_DF, 'no DF without structured replies')
  t.is((await client.read(0, 10)).byteLength, 10, 'transmission has begun')
  client.destroy()
})

test('nbd handshake: names find their export, the empty name only an unambiguous one', async (t) => {
  const two = await startNbdServer(t, { exports: { a: disk(), b: new MemoryDevice(2 * MiB) } })
  const client = await NbdClient.connect(two.socketPath)
  t.is((await client.option(OPT.INFO, infoRequest(''))).at(-1)!.type, REP.ERR_UNKNOWN)
  t.is((await client.option(OPT.GO, infoRequest('c'))).at(-1)!.type, REP.ERR_UNKNOWN)
  t.is(
    (await client.option(OPT.INFO, infoRequest('b')))[0].data.readBigUInt64BE(2),
    BigInt(2 * MiB)
  )
  const list = await client.option(OPT.LIST)
  t.alike(
    list.slice(0, -1).map((reply) => reply.data.toString('utf8', 4)),
    ['a', 'b']
  )
  client.destroy()

  const chosen = await startNbdServer(t, {
    exports: { a: disk(), b: new MemoryDevice(2 * MiB) },
    defaultExport: 'b'
  })
  const other = await NbdClient.connect(chosen.socketPath)
  t.is((await other.option(OPT.INFO, infoRequest('')))[0].data.readBigUInt64BE(2), BigInt(2 * MiB))
  other.destroy()
})

test('nbd handshake: EXPORT_NAME, with and without the zeroes', async (t) => {
  const server = await startNbdServer(t, { exports: { disk0: disk() } })
  for (const [flags, length] of [
    [1, 134],
    [3, 10]
  ] as const) {
    const client = await NbdClient.connect(server.socketPath, flags)
    client.write(
      Buffer.concat([words(0x49484156, 0x454f5054, OPT.EXPORT_NAME, 5), Buffer.from('disk0')])
    )
    const answer = await client.bytes(length)
    t.is(answer.readBigUInt64BE(0), BigInt(MiB))
    t.is((await client.read(0, 10)).byteLength, 10)
    client.destroy()
  }
  const lost = await NbdClient.connect(server.socketPath)
  lost.write(Buffer.concat([words(0x49484156, 0x454f5054, OPT.EXPORT_NAME, 1), Buffer.from('x')]))
  await lost.ended()
  t.pass('an unknown name can only be answered by closing')
})

test('nbd handshake: metadata contexts', async (t) => {
  const server = await startNbdServer(t, { exports: { disk0: disk() } })
  const client = await NbdClient.connect(server.socketPath)
  const early = await client.option(OPT.SET_META_CONTEXT, contexts('disk0', 'base:allocation'))
  t.is(early.at(-1)!.type, REP.ERR_INVALID, 'structured replies come first')
  await client.structured()
  const names = async (option: number, ...queries: string[]) => {
    const replies = await client.option(option, contexts('disk0', ...queries))
    t.is(replies.at(-1)!.type, REP.ACK)
    return replies.slice(0, -1).map((reply) => reply.data.toString('utf8', 4))
  }
  t.alike(await names(OPT.LIST_META_CONTEXT), ['base:allocation'])
  t.alike(await names(OPT.LIST_META_CONTEXT, 'base:'), ['base:allocation'])
  t.alike(await names(OPT.LIST_META_CONTEXT, 'qemu:'), [])
  t.alike(await names(OPT.SET_META_CONTEXT, 'qemu:dirty-bitmap:x'), [])
  t.alike(await names(OPT.SET_META_CONTEXT, 'x:y', 'base:allocation'), ['base:allocation'])
  const unknown = await client.option(OPT.SET_META_CONTEXT, contexts('nope', 'base:allocation'))
  t.is(unknown.at(-1)!.type, REP.ERR_UNKNOWN)
  client.destroy()
})

test('nbd handshake: what we do not know is refused, and negotiation goes on', async (t) => {
  const server = await startNbdServer(t, { exports: { disk0: disk() } })
  const client = await NbdClient.connect(server.socketPath)
  t.is((await client.option(5)).at(-1)!.type, REP.ERR_UNSUP, 'STARTTLS')
  t.is((await client.option(11)).at(-1)!.type, REP.ERR_UNSUP, 'EXTENDED_HEADERS')
  t.is((await client.option(999, Buffer.alloc(5000))).at(-1)!.type, REP.ERR_UNSUP)
  t.is((await client.option(OPT.LIST, Buffer.alloc(4))).at(-1)!.type, REP.ERR_INVALID)
  for (const malformed of [
    Buffer.alloc(0),
    words(100),
    Buffer.concat([words(5), Buffer.from('disk0')]),
    Buffer.concat([infoRequest('disk0', 1), Buffer.alloc(1)])
  ]) {
    t.is((await client.option(OPT.GO, malformed)).at(-1)!.type, REP.ERR_INVALID)
  }
  await client.structured()
  const tooMany = Buffer.concat([words(5), Buffer.from('disk0'), words(0xffffffff)])
  t.is((await client.option(OPT.SET_META_CONTEXT, tooMany)).at(-1)!.type, REP.ERR_INVALID)
  t.is((await client.option(OPT.GO, infoRequest('disk0'))).at(-1)!.type, REP.ACK)
  client.destroy()
})

test('nbd handshake: ABORT is acknowledged, then the server closes', async (t) => {
  const server = await startNbdServer(t, { exports: { disk0: disk() } })
  const client = await NbdClient.connect(server.socketPath)
  t.is((await client.option(OPT.ABORT)).at(-1)!.type, REP.ACK)
  await client.ended()
  t.ok(await until(() => server.connections === 0))
})

test('nbd handshake: broken framing drops that connection alone', async (t) => {
  const server = await startNbdServer(t, { exports: { disk0: disk() } })
  const good = await NbdClient.open(server.socketPath)
  for (const bytes of [
    Buffer.alloc(16, 0xff),
    words(0x49484156, 0x454f5054, OPT.LIST, 0xffffffff),
    words(0x49484156, 0x454f5054, OPT.LIST, 70_000)
  ]) {
    const bad = await NbdClient.connect(server.socketPath)
    bad.write(bytes)
    await bad.ended()
  }
  const badFlags = await NbdClient.connect(server.socketPath, 0x80)
  await badFlags.ended()
  t.is((await good.read(0, 4096)).byteLength, 4096)
  good.destroy()
})

test('nbd handshake: bytes may arrive one at a time', async (t) => {
  const server = await startNbdServer(t, { exports: { disk0: disk() } })
  const client = await NbdClient.connect(server.socketPath)
  const go = infoRequest('disk0')
  const bytes = Buffer.concat([words(0x49484156, 0x454f5054, OPT.GO, go.byteLength), go])
  for (const byte of bytes) {
    client.write(Buffer.from([byte]))
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.is((await client.bytes(20)).readUInt32BE(12), REP.INFO)
  client.destroy()
})
