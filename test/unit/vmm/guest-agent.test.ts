import { Duplex } from 'node:stream'
import test from 'brittle'
import { GuestAgent } from '../../../lib/vmm/qemu/guest-agent.ts'

const TIMEOUT_MS = 300

test('an agent answers, whatever was left in the channel', async (t) => {
  const guest = new FakeGuest()
  const agent = new GuestAgent(guest)
  guest.push('{"return": "of an older call"}\n{"half')
  t.is(await agent.call('{"execute":"guest-ping"}', TIMEOUT_MS), 'done guest-ping')
  t.is(await agent.call('{"execute":"guest-info"}', TIMEOUT_MS), 'done guest-info')
})

test('a refusal and a silence reject', async (t) => {
  const guest = new FakeGuest()
  const agent = new GuestAgent(guest)
  await t.exception(agent.call('{"execute":"refuse"}', TIMEOUT_MS), /refused: no/)
  guest.silent = true
  await t.exception(agent.call('{"execute":"guest-ping"}', 50), /not answer in time/)
})

test('a guest that floods the channel fills no memory', async (t) => {
  const guest = new FakeGuest()
  const agent = new GuestAgent(guest)
  guest.silent = true
  const call = agent.call('{"execute":"guest-ping"}', TIMEOUT_MS)
  const before = process.memoryUsage().arrayBuffers
  const flood = setInterval(() => guest.push(Buffer.alloc(1024 * 1024, 'x')), 2)
  await t.exception(call, /not answer in time/)
  clearInterval(flood)
  t.ok(process.memoryUsage().arrayBuffers - before < 64 * 1024 * 1024)
})

/** As qemu-ga: 0xFF makes it complain and start afresh. */
class FakeGuest extends Duplex {
  silent = false
  #text = ''

  override _read(): void {}

  override _write(data: Buffer, _encoding: string, callback: () => void): void {
    callback()
    if (this.silent) return
    this.#text += data.toString('latin1')
    if (this.#text.includes('\xff')) {
      this.push('{"error": {"class": "GenericError", "desc": "JSON parse error"}}\n')
      this.#text = this.#text.slice(this.#text.lastIndexOf('\xff') + 1)
    }
    const lines = this.#text.split('\n')
    this.#text = lines.pop()!
    for (const line of lines) this.#answer(JSON.parse(line) as Record<string, unknown>)
  }

  #answer(request: Record<string, unknown>): void {
    const { id } = (request['arguments'] ?? {}) as { id?: number }
    if (request['execute'] === 'guest-sync-delimited') {
      this.push(Buffer.concat([Buffer.from([0xff]), Buffer.from(`{"return": ${id}}\n`)]))
    } else if (request['execute'] === 'refuse') {
      this.push('{"error": {"class": "GenericError", "desc": "no"}}\n')
    } else this.push(`{"return": "done ${String(request['execute'])}"}\n`)
  }
}
