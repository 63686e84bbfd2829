import { appendFile, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test, { type Assert } from 'brittle'
import type { HomePaths } from '../../../lib/base/paths.ts'
import { connectDaemon, connectOrStartDaemon } from '../../../lib/daemon/client.ts'
import { startFakeDaemon, temporaryHome } from '../../helpers/fake-daemon.ts'
import { ROOT } from '../../helpers/sources.ts'

const BUILT = path.join(ROOT, 'dist/lib')

test('connects to the one that runs', async (t) => {
  const { paths } = await startFakeDaemon(t, { ls: () => ({ parcels: [] }) })
  const client = await connectOrStartDaemon(paths, { program: ['/nonexistent'] })
  t.alike(await client.call('ls', {}), { parcels: [] })
  client.close()
  await client.closed
})

test('null where none runs, also with a stale socket', async (t) => {
  const paths = await temporaryHome(t)
  t.is(await connectDaemon(paths), null)
  await writeFile(paths.daemonSocket, '')
  t.is(await connectDaemon(paths), null)
})

test('starts one in the background, its output goes to the log', async (t) => {
  const paths = await temporaryHome(t)
  const program = await daemonScript(
    paths,
    `console.error('hello from', process.argv.slice(2).join(' '))`
  )
  const client = await connectOrStartDaemon(paths, { program })
  t.alike(await client.call('daemon.stop', {}), { pid: 1 })
  await client.closed
  const log = await readFile(paths.daemonLog, 'utf8')
  t.is(log.trim(), `hello from --home ${paths.home} --json daemon run`)
})

test('two clients at the same moment get to one daemon', async (t) => {
  const paths = await temporaryHome(t)
  const program = await daemonScript(paths, '')
  const clients = await Promise.all([1, 2, 3].map(() => connectOrStartDaemon(paths, { program })))
  const pids = await Promise.all(clients.map((client) => client.call('daemon.status', {})))
  t.is(new Set(pids.map(({ pid }) => pid)).size, 1)
  await clients[0].call('daemon.stop', {})
  await Promise.all(clients.map((client) => client.closed))
})

test('a daemon that ends at once: its own error, not one of an earlier start', async (t) => {
  const paths = await temporaryHome(t)
  await appendFile(paths.daemonLog, '{"error":{"code":"OLD","message":"old"}}\n')
  const fail = (code: string) => start(t, paths, code)
  const shape = `{"error":{"code":"FORMAT_TOO_NEW","message":"Too new","hint":"Update."}}`
  const coded = await fail(`console.log('${shape}'); process.exit(6)`)
  t.is(coded.code, 'FORMAT_TOO_NEW')
  t.is(coded.hint, 'Update.')
  const crash = await fail(`console.error('Segfault'); process.exit(1)`)
  t.is(crash.code, 'DAEMON_START_FAILED')
  t.ok(crash.message.includes('Segfault'))
  t.ok((await fail('process.exit(9)')).message.includes('exit code 9'))
  const missing = await startWith(t, paths, ['/nonexistent/program'])
  t.ok(missing.message.includes('ENOENT'), missing.message)
})

test('a daemon that listens and then fails: its own error too', async (t) => {
  const paths = await temporaryHome(t)
  const shape = `{"error":{"code":"FORMAT_TOO_NEW","message":"Too new"}}`
  const program = await daemonScript(
    paths,
    `setTimeout(() => { console.log('${shape}'); process.exit(6) }, 600)`
  )
  const client = await connectOrStartDaemon(paths, { program })
  await t.exception(client.call('ls', {}), /Too new/)
})

interface Failure {
  code: string
  message: string
  hint?: string
}

async function start(t: Assert, paths: HomePaths, code: string): Promise<Failure> {
  const script = path.join(path.dirname(paths.home), 'failing.mjs')
  await writeFile(script, code)
  return startWith(t, paths, [process.execPath, script])
}

async function startWith(t: Assert, paths: HomePaths, program: string[]): Promise<Failure> {
  try {
    await connectOrStartDaemon(paths, { program })
  } catch (err) {
    return err as Failure
  }
  t.fail('it started')
  return { code: '', message: '' }
}

/** A program that listens on the home's socket until it is told to stop. */
async function daemonScript(paths: HomePaths, first: string): Promise<string[]> {
  const script = path.join(path.dirname(paths.home), 'daemon.mjs')
  await writeFile(
    script,
    `
import { mkdirSync } from 'node:fs'
import { listenUnix } from '${BUILT}/ipc/endpoint.js'
import { Channel } from '${BUILT}/ipc/channel.js'
${first}
try {
  // As the lock of the store: one process has the home.
  mkdirSync('${paths.run}/lock')
} catch {
  console.log('{"error":{"code":"DAEMON_RUNNING","message":"lost"}}')
  process.exit(1)
}
await new Promise((resolve) => setTimeout(resolve, 200))
await listenUnix('${paths.daemonSocket}', (socket) => new Channel(socket, {
  ls: () => new Promise(() => {}),
  'daemon.status': () => ({ pid: process.pid }),
  'daemon.stop': () => {
    setTimeout(() => process.exit(0), 20)
    return { pid: 1 }
  }
}))
`
  )
  return [process.execPath, script]
}
