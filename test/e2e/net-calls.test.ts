import { setTimeout as sleep } from 'node:timers/promises'
import test from 'brittle'
import { HyperparcelError } from '../../lib/base/errors.ts'
import { PeerReply } from '../../lib/net/calls.ts'
import { Fleet } from '../helpers/networks.ts'

test('calls between devices', async (t) => {
  const fleet = await Fleet.create(t)
  let aborted = false
  const home = await fleet.device({
    handlers: {
      greet: (params, { peer }) => ({ params, peer: peer.toString('hex') }),
      reverse: (_params, { attachment }) =>
        new PeerReply('done', Buffer.from(attachment).reverse()),
      nothing: () => {},
      refuse() {
        throw new HyperparcelError('LEASE_HELD', 'It runs here', { hint: 'Suspend it first.' })
      },
      async wait(_params, { signal }) {
        await sleep(20_000, null, { signal }).catch(() => (aborted = true))
      }
    }
  })
  const office = await fleet.device()
  const to = home.keyPair.publicKey
  t.alike(await office.network.call(to, 'greet', { a: [1, 'ü'] }), {
    params: { a: [1, 'ü'] },
    peer: office.keyPair.publicKey.toString('hex')
  })
  const attachment = Buffer.alloc(300_000, 1)
  attachment[0] = 9
  const reply = await office.network.callRaw(to, 'reverse', null, { attachment })
  t.is(reply.json, 'done')
  t.alike(reply.attachment, Buffer.from(attachment).reverse())
  t.is(await office.network.call(to, 'nothing', null), null)
  await t.exception(office.network.call(to, 'refuse', null), { code: 'LEASE_HELD' })
  await t.exception(office.network.call(to, 'constructor', null), { code: 'UNKNOWN_METHOD' })
  await t.exception(
    office.network.callRaw(to, 'reverse', null, { attachment: Buffer.alloc(2_000_000) }),
    { code: 'FORMAT_INVALID' },
    'too large to send'
  )
  await t.exception(office.network.call(to, 'wait', null, { timeoutMs: 300 }), {
    code: 'PEER_UNREACHABLE'
  })
  await sleep(200)
  t.ok(aborted, 'the handler hears that nobody waits')
  const signal = AbortSignal.timeout(200)
  await t.exception(office.network.call(to, 'wait', null, { signal }), { name: 'TimeoutError' })
  const waiting = office.network.call(to, 'wait', null)
  await sleep(100)
  await Promise.all([t.exception(waiting, { code: 'PEER_UNREACHABLE' }), home.network.close()])
  await t.exception(office.network.call(to, 'greet', null, { timeoutMs: 300 }), {
    code: 'PEER_UNREACHABLE'
  })
})
