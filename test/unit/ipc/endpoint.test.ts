import test from 'brittle'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, stat, writeFile } from 'node:fs/promises'
import type net from 'node:net'
import path from 'node:path'
import { connectUnix, listenUnix } from '../../../lib/ipc/endpoint.ts'

test('listens for its user alone, and leaves the mask of the process as it was', async (t) => {
  const directory = await t.tmp()
  const file = path.join(directory, 's')
  const mask = process.umask()
  const listening = listenUnix(file, (socket) => socket.destroy())
  const made = mkdir(path.join(directory, 'beside'), { mode: 0o700 })
  const server = await listening
  t.teardown(() => server.close())
  await made
  t.is((await stat(file)).mode & 0o777, 0o600)
  t.is((await stat(path.join(directory, 'beside'))).mode & 0o777, 0o700)
  t.is(process.umask(), mask)
  const socket = await connectUnix(file)
  socket.destroy()
})

test('a stale socket or file is replaced, a live one is not', async (t) => {
  const directory = await t.tmp()
  const file = path.join(directory, 's')
  const script = `require('net').createServer().listen(${JSON.stringify(file)}, () => console.log('up'))`
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  await t.exception(
    listenUnix(file, () => {}),
    /already listens/
  )
  child.kill('SIGKILL')
  await once(child, 'exit')
  t.ok((await stat(file)).isSocket(), 'left behind')
  const server = await listenUnix(file, () => {})
  server.close()
  await writeFile(file, 'something else')
  const again = await listenUnix(file, () => {})
  again.close()
})

test('a listener that is too busy to answer keeps its socket', async (t) => {
  const file = path.join(await t.tmp(), 's')
  const script = `const s = require('net').createServer(); s.listen({ path: ${JSON.stringify(file)}, backlog: 1 },
    () => { console.log('up'); for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0) })`
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => void child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  const { ino } = await stat(file)
  const waiting: net.Socket[] = []
  t.teardown(() => waiting.forEach((socket) => socket.destroy()))
  for (;;) {
    const socket = await connectUnix(file).catch(() => null)
    if (socket === null) break
    waiting.push(socket)
  }
  await t.exception(
    listenUnix(file, () => {}),
    /EAGAIN/
  )
  t.is((await stat(file)).ino, ino, 'it is still there')
})

test('a path that does not fit is refused', async (t) => {
  await t.exception(
    listenUnix(`/tmp/${'x'.repeat(120)}`, () => {}),
    /too long/
  )
})
