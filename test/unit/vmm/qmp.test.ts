import { Duplex } from 'node:stream'
import test from 'brittle'
import { Qmp, type QmpEvent } from '../../../lib/vmm/qemu/qmp.ts'

const GREETING = '{"QMP": {"version": {}, "capabilities": []}}\r\n'

test('answers find their calls in any order, and in pieces', async (t) => {
  const { qmp, peer } = await connected()
  const first = qmp.execute('first')
  const second = qmp.execute('second', { a: 1 })
  const [one, two] = await peer.requests(2)
  t.is(two.execute, 'second')
  t.alike(two.arguments, { a: 1 })
  peer.say(`{"return": "2", "id": ${two.id}}\r\n{"ret`)
  t.is(await second, '2')
  peer.say(`urn": "1", "id": ${one.id}}\r\n`)
  t.is(await first, '1')
})

test('events come through, refusals reject', async (t) => {
  const { qmp, peer, events } = await connected()
  const call = qmp.execute('cont')
  const [{ id }] = await peer.requests(1)
  peer.say('{"event": "STOP", "data": {"x": 1}, "timestamp": {}}\r\n')
  peer.say(`{"error": {"class": "GenericError", "desc": "not now"}, "id": ${id}}\r\n`)
  await t.exception(call, /refused cont: not now/)
  t.alike(events, [{ event: 'STOP', data: { x: 1 } }])
})

test('a late answer is a timeout, and is forgotten', async (t) => {
  const { qmp, peer } = await connected()
  await t.exception(qmp.execute('stop', {}, 20), /did not answer stop in time/)
  const [{ id }] = await peer.requests(1)
  peer.say(`{"return": {}, "id": ${id}}\r\n`)
  const next = qmp.execute('next')
  const [request] = await peer.requests(1)
  peer.say(`{"return": 7, "id": ${request.id}}\r\n`)
  t.is(await next, 7)
})

test('a QEMU that ends rejects what is pending and what comes', async (t) => {
  const { qmp, peer } = await connected()
  const call = qmp.execute('stop', {}, 0)
  peer.destroy()
  await t.exception(call, /ended before it answered stop/)
  await t.exception(qmp.execute('cont'), /ended/)
  await qmp.closed
})

test('what is no QMP closes the connection', async (t) => {
  const { qmp, peer } = await connected()
  const call = qmp.execute('stop', {}, 0)
  peer.say('SSH-2.0-OpenSSH\r\n')
  await t.exception(call, /ended/)
})

test('no greeting', async (t) => {
  const peer = new Peer()
  const qmp = new Qmp(peer, () => {})
  peer.destroy()
  t.is(await qmp.ready(), false)
})

async function connected() {
  const peer = new Peer()
  const events: QmpEvent[] = []
  const qmp = new Qmp(peer, (event) => events.push(event))
  const ready = qmp.ready()
  peer.say(GREETING)
  const [{ execute, id }] = await peer.requests(1)
  if (execute !== 'qmp_capabilities') throw new Error('no negotiation')
  peer.say(`{"return": {}, "id": ${id}}\r\n`)
  await ready
  return { qmp, peer, events }
}

interface Request {
  execute: string
  arguments: unknown
  id: number
}

/** QEMU's end of the socket. */
class Peer extends Duplex {
  #text = ''

  say(text: string): void {
    this.push(text)
  }

  async requests(count: number): Promise<Request[]> {
    for (;;) {
      const lines = this.#text.split('\n')
      if (lines.length > count) {
        this.#text = lines.slice(count).join('\n')
        return lines.slice(0, count).map((line) => JSON.parse(line) as Request)
      }
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }

  override _read(): void {}

  override _write(data: Buffer, _encoding: string, callback: () => void): void {
    this.#text += data.toString()
    callback()
  }
}
