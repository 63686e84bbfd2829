import net from 'node:net'
import { PassThrough } from 'node:stream'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test, { type Assert } from 'brittle'
import { systemClock } from '../../../lib/base/clock.ts'
import { bridge } from '../../../lib/cli/console/bridge.ts'
import { runCli } from '../../helpers/cli.ts'
import { startFakeDaemon } from '../../helpers/fake-daemon.ts'

class Keyboard extends PassThrough {
  readonly isTTY = true
  readonly modes: boolean[] = []
  setRawMode(raw: boolean): void {
    this.modes.push(raw)
  }
}

test('a terminal is raw until Ctrl-], and Ctrl-C goes to the guest', async (t) => {
  const guest = await startGuest(t)
  const keys = new Keyboard()
  let screen = ''
  const ended = bridge({
    socket: net.connect(guest.socket),
    stdin: keys,
    stdout: { write: (data) => (screen += String(data)) },
    signal: new AbortController().signal,
    clock: systemClock
  })
  keys.write('ls\u0003')
  await until(() => guest.received() === '\rls\u0003')
  guest.send('file\r\n')
  await until(() => screen === 'file\r\n')
  keys.write('bye\u001dnot this')
  t.is(await ended, 'left')
  await until(() => guest.received().endsWith('bye'))
  t.is(guest.received(), '\rls\u0003bye')
  t.alike(keys.modes, [true, false])
})

test('ends when the guest does', async (t) => {
  const guest = await startGuest(t)
  const keys = new Keyboard()
  const ended = bridge({
    socket: net.connect(guest.socket),
    stdin: keys,
    stdout: { write() {} },
    signal: new AbortController().signal,
    clock: systemClock
  })
  await until(() => guest.received() === '\r')
  guest.hangUp()
  t.is(await ended, 'closed')
  t.alike(keys.modes, [true, false])
})

test('piped input passes until its end, the answer is still shown', async (t) => {
  const guest = await startGuest(t, (text) => (text.includes('uptime\n') ? 'up 3 days\n' : ''))
  const { paths } = await startFakeDaemon(t, {
    console: () => ({ parcel: 'work', serial: guest.socket, vnc: '' })
  })
  const run = await runCli(['--home', paths.home, 'console', 'work'], { input: 'uptime\n\u001d' })
  t.is(run.code, 0)
  t.is(run.stdout, 'up 3 days\n')
  t.ok(run.stderr.includes('Ctrl-] leaves'))
  t.is(guest.received(), '\ruptime\n\u001d', 'Ctrl-] means nothing without a terminal')
})

interface Guest {
  socket: string
  received(): string
  send(text: string): void
  hangUp(): void
}

async function startGuest(t: Assert, answer: (text: string) => string = () => ''): Promise<Guest> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'hpc-'))
  const socket = path.join(directory, 'serial')
  let received = ''
  let peer: net.Socket | null = null
  const server = net.createServer((connection) => {
    peer = connection
    connection.on('error', () => {})
    connection.on('data', (data) => {
      received += data.toString()
      setTimeout(() => connection.write(answer(data.toString())), 100)
    })
  })
  await new Promise<void>((resolve) => server.listen(socket, resolve))
  t.teardown(async () => {
    peer?.destroy()
    server.close()
    await rm(directory, { recursive: true, force: true })
  })
  return {
    socket,
    received: () => received,
    send: (text) => void peer?.write(text),
    hangUp: () => peer?.destroy()
  }
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !condition(); i++) await systemClock.sleep(10)
}
