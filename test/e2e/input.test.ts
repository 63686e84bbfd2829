/** Bad input: a clear error with a hint, the right exit code, one JSON object, and nothing left behind. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmod,
  chown,
  copyFile,
  mkdir,
  readFile,
  readdir,
  readlink,
  rm,
  stat,
  truncate,
  writeFile
} from 'node:fs/promises'
import net from 'node:net'
import { existsSync } from 'node:fs'
import path from 'node:path'
import test, { type Assert } from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { rawImage, tool } from '../helpers/images.ts'
import type { ProgramRun } from '../helpers/program.ts'
import { Random } from '../helpers/random.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2
const AT_ONCE = 3

interface Case {
  args: string[]
  code: number
  error: string
  /** In message or hint. */
  says?: RegExp
}

test('nonsense is refused, and nothing is left of it', { timeout: 180_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'qemu')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const at = (name: string) => path.join(fleet.directory, name)
  const image = await images(fleet.directory)
  await home.create('work', ['--disk', at('good.qcow2')])
  const before = await everything(home)

  const create = (error: string, says: RegExp, ...args: string[]) =>
    ({ args: ['create', 'bad', ...args], code: error === 'USAGE' ? 2 : 1, error, says }) as Case
  const disk = (error: string, file: string, says: RegExp) =>
    create(error, says, '--disk', at(file))
  await refuse(t, home, [
    disk('IMAGE_UNREADABLE', 'missing', /missing cannot be read: there is no such file/),
    disk('IMAGE_UNREADABLE', 'folder', /is a directory/),
    disk('IMAGE_UNREADABLE', 'pipe', /not a regular file/),
    disk('IMAGE_INVALID', 'empty', /is empty/),
    disk('IMAGE_INVALID', 'text', /is no disk: it is text/),
    disk('IMAGE_INVALID', 'raw.qcow2', /is not a qcow2 image/),
    disk('IMAGE_INVALID', 'head.qcow2', /header/),
    disk('IMAGE_INVALID', 'half.qcow2', /damaged or cut off/),
    disk('IMAGE_INVALID', 'backed.qcow2', /needs another file/),
    create('IMAGE_UNREADABLE', /nowhere/, '--kernel', at('nowhere')),
    create('IMAGE_UNREADABLE', /nowhere/, '--size', '1M', '--iso', at('nowhere')),
    create('USAGE', /something to boot from/),
    create('USAGE', /--kernel/, '--size', '1M', '--append', 'x'),
    ...['1K', '0', '-5', 'abc', '1000001', '2T', '100P'].map((memory) =>
      create('USAGE', /memory/i, '--size', '1M', '--memory', memory)
    ),
    ...['0', '-1', '1.5', '65', 'many'].map((cpus) =>
      create('USAGE', /cpus/i, '--size', '1M', '--cpus', cpus)
    ),
    create('USAGE', /--size 20G/, '--size', '10'),
    create('USAGE', /--size 20G/, '--size', '1023K'),
    create('USAGE', /64 TiB/, '--size', '65T'),
    create('USAGE', /only qemu/, '--size', '1M', '--vmm', 'bochs'),
    ...['', 'a b', 'a/b', '../up', '.', 'x@2', 'x'.repeat(65), 'tab\t'].map((name) => ({
      args: ['create', name, '--size', '1M'],
      code: 2,
      error: 'NAME_INVALID'
    })),
    { args: ['create', 'work', '--size', '1M'], code: 1, error: 'PARCEL_EXISTS' },
    ...[
      'show',
      'log',
      'lease',
      'resume',
      'suspend',
      'checkpoint',
      'poweroff',
      'serve',
      'console'
    ].map((command) => ({
      args: [command, 'nope'],
      code: 3,
      error: 'PARCEL_NOT_FOUND',
      says: /There are: work/
    })),
    { args: ['discard', 'nope', '--yes'], code: 3, error: 'PARCEL_NOT_FOUND' },
    { args: ['export', 'nope', at('out')], code: 3, error: 'PARCEL_NOT_FOUND' },
    { args: ['export', 'work', at('out'), '--version', '7'], code: 3, error: 'VERSION_NOT_FOUND' },
    { args: ['serve', 'work', '--version', '7'], code: 3, error: 'VERSION_NOT_FOUND' },
    { args: ['resume', 'work', '--version', '7'], code: 3, error: 'VERSION_NOT_FOUND' },
    { args: ['resume', 'work', '--version', '0'], code: 2, error: 'USAGE' },
    {
      args: ['export', 'work', at('out'), '--volume', 'disk7'],
      code: 3,
      error: 'VOLUME_NOT_FOUND',
      says: /disk0/
    },
    {
      args: ['export', 'work', at('folder')],
      code: 1,
      error: 'EXPORT_FAILED',
      says: /is a directory/
    },
    {
      args: ['export', 'work', at('no/where')],
      code: 1,
      error: 'EXPORT_FAILED',
      says: /not a directory/
    },
    { args: ['suspend', 'work'], code: 1, error: 'PARCEL_NOT_RUNNING', says: /resume work/ },
    { args: ['console', 'work'], code: 1, error: 'PARCEL_NOT_RUNNING' },
    { args: ['discard', 'work', '--yes'], code: 1, error: 'PARCEL_NOT_RUNNING' },
    { args: ['remove', 'nope'], code: 3, error: 'PARCEL_NOT_FOUND' },
    { args: ['suspend', 'work', '--to', 'home'], code: 2, error: 'USAGE', says: /very device/ },
    { args: ['suspend', 'work', '--to', 'nobody'], code: 3, error: 'DEVICE_NOT_FOUND' },
    { args: ['discard', 'work'], code: 7, error: 'CONFIRM', says: /--yes/ },
    { args: ['config', 'colour', 'red'], code: 2, error: 'CONFIG_UNKNOWN', says: /bootstrap, lan/ },
    { args: ['config', 'colour'], code: 2, error: 'CONFIG_UNKNOWN', says: /bootstrap, lan/ },
    { args: ['config', 'bootstrap', 'nonsense'], code: 2, error: 'USAGE', says: /HOST:PORT/ },
    { args: ['config', 'down', 'fast'], code: 2, error: 'USAGE', says: /10Mbit/ },
    { args: ['invite', '--expires', 'never'], code: 2, error: 'USAGE' },
    { args: ['frobnicate'], code: 2, error: 'USAGE' },
    { args: ['ls', '--frob'], code: 2, error: 'USAGE' },
    { args: ['resume'], code: 2, error: 'USAGE' },
    { args: ['takeover', 'work'], code: 1, error: 'NOT_IMPLEMENTED' },
    { args: ['init'], code: 1, error: 'FLEET_EXISTS' },
    { args: ['join', 'hp1nonsense'], code: 1, error: 'FLEET_EXISTS' },
    { args: ['daemon', 'run'], code: 1, error: 'DAEMON_RUNNING' }
  ])
  t.alike(await everything(home), before, 'home, processes and parcels are as before')
  t.is((await home.ok(['create', 'bad', '--disk', image]))['version'], 1, 'the name is free still')
})

test('invites that are bad, used up or too old', { timeout: 120_000 }, async (t) => {
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const office = await fleet.join(home, 'office')
  const join = (name: string, invite: string) =>
    fleet.device(name).run(['join', invite, '--name', name, '--bootstrap', fleet.bootstrap])

  const { invite: used } = await home.ok(['invite', '--no-wait'])
  t.is((await join('lab', String(used))).code, 0)
  const { invite: short } = await home.ok(['invite', '--no-wait', '--expires', '1s'])
  const { invite: good } = await home.ok(['invite', '--no-wait'])
  const waiting = home.start(['invite'])
  await waiting.saw('waiting for the other device')
  const cancelled = await waiting.interrupt()
  t.is(cancelled.code, 130)
  const text = String(good)
  const results = {
    INVITE_INVALID: [
      await join('a', 'nonsense'),
      await join('b', text.slice(0, -9)),
      await join('c', swap(text))
    ],
    INVITE_USED: [await join('d', String(used))],
    INVITE_EXPIRED: [await join('e', String(short))]
  }
  for (const [code, runs] of Object.entries(results)) {
    for (const run of runs) failed(t, run, 1, code)
  }
  failed(t, await office.run(['join', text]), 1, 'FLEET_EXISTS')
  failed(t, await office.run(['init']), 1, 'FLEET_EXISTS')
  const typo = fleet.device('g')
  for (const verb of ['ls', 'status']) failed(t, await typo.run([verb]), 1, 'NO_FLEET')
  t.absent(existsSync(typo.home), 'nothing is made for a typing error')
  t.is((await join('a', text)).code, 0, 'after a failed join the home may join')
  const { devices } = (await home.ok(['devices'])) as { devices: Json[] }
  t.alike(new Set(devices.map((device) => device['name'])), new Set(['home', 'office', 'lab', 'a']))
})

test(
  'daemons: stale sockets, two on one home, killed while a command waits',
  { timeout: 120_000 },
  async (t) => {
    const fleet = await Fleet.open(t)
    const home = await fleet.first()
    const socket = path.join(home.home, 'run', 'daemon.sock')

    const waiting = home.start(['invite'])
    await waiting.saw('waiting for the other device')
    await home.kill('daemon')
    const gone = await waiting.done
    failed(t, gone, 1, 'DAEMON_GONE')
    t.ok((await stat(socket)).isSocket(), 'a killed daemon leaves its socket')
    t.is((await home.run(['daemon', 'stop'])).code, 0, 'nothing to stop is no failure')
    t.is((await home.run(['ls'])).code, 0, 'the next command starts another one')

    t.is((await home.ok(['daemon', 'stop']))['peers'], 0)
    await writeFile(socket, 'not a socket')
    t.is((await home.run(['ls'])).code, 0, 'a file in the way of the socket')
    await home.ok(['daemon', 'stop'])

    const runs = await Promise.all(Array.from({ length: 4 }, () => home.run(['ls'])))
    t.alike(
      runs.map(({ code }) => code),
      [0, 0, 0, 0],
      'four commands start it at once'
    )
    const { pid } = await home.ok(['daemon', 'status'])
    await until(() => home.processes('daemon').length === 1) // those that came too late end
    t.is(home.processes('daemon')[0], pid, 'one daemon')
    failed(t, await home.run(['daemon', 'run']), 1, 'DAEMON_RUNNING')

    await home.kill('daemon', 'SIGTERM')
    t.absent(await stat(socket).catch(() => null), 'SIGTERM lets it end cleanly')
    const server = net.createServer().listen(socket)
    await once(server, 'listening')
    const deaf = home.start(['ls'])
    await until(
      async () => new Promise<boolean>((resolve) => server.getConnections((_, n) => resolve(n > 0)))
    )
    t.is((await deaf.interrupt()).code, 130, 'Ctrl-C while a daemon does not answer')
    server.close()
  }
)

test('homes that cannot be used', { timeout: 120_000 }, async (t) => {
  const fleet = await Fleet.open(t)
  const at = (name: string) => path.join(fleet.directory, name)
  await writeFile(at('file'), '')
  const init = ['init', '--bootstrap', fleet.bootstrap]
  const device = (home: string) => fleet.device('x', home)
  failed(t, await device(at('file')).run(init), 1, 'HOME_UNUSABLE')
  failed(t, await device(at('file/below')).run(init), 1, 'HOME_UNUSABLE')
  failed(t, await device(at('n'.repeat(300))).run(init), 1, 'HOME_UNUSABLE')

  const deep = device(at(`${'deep/'.repeat(30)}home`))
  t.is((await deep.run(init)).code, 0, 'a path too long for a socket')
  t.is((await deep.run(['ls'])).code, 0)
  const short = await readlink(path.join(deep.home, 'run'))
  t.teardown(() => rm(short, { recursive: true, force: true }))
  t.ok(short.length < 60)
  await deep.ok(['daemon', 'stop'])

  const broken = device(at('broken'))
  await broken.ok(init)
  await broken.ok(['daemon', 'stop'])
  const config = path.join(broken.home, 'config.json')
  const good = await readFile(config)
  await writeFile(config, '{"bootstrap": 7}')
  failed(t, await broken.run(['ls']), 1, 'CONFIG_INVALID')
  await writeFile(config, good)
  for (const name of await readdir(path.join(broken.home, 'keys'))) {
    const file = path.join(broken.home, 'keys', name)
    const kept = await readFile(file)
    await writeFile(file, kept.subarray(0, kept.length / 2))
    const run = await broken.run(['ls'])
    t.is(run.code, 6, `${name} cut off: ${JSON.stringify(run.json)}`)
    await writeFile(file, kept)
  }
  t.is((await broken.run(['ls'])).code, 0)
})

test(
  'an ordinary user: a home and an image that may not be used',
  { timeout: 60_000 },
  async (t) => {
    if (!need(t, 'root', 'qemu-tools')) return
    const fleet = await Fleet.open(t)
    const uid = 65_534
    const through = ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups']
    await chmod(fleet.directory, 0o755)
    const closed = path.join(fleet.directory, 'closed')
    await mkdir(closed, { mode: 0o755 })
    failed(t, await fleet.device('a', closed).run(['init'], { through }), 1, 'HOME_UNUSABLE')
    failed(
      t,
      await fleet.device('a', path.join(closed, 'x')).run(['init'], { through }),
      1,
      'HOME_UNUSABLE'
    )

    const mine = path.join(fleet.directory, 'mine')
    await mkdir(mine, { mode: 0o700 })
    await chown(mine, uid, uid)
    const image = await rawImage(path.join(fleet.directory, 'secret'), MIB, [])
    await chmod(image, 0o600)
    const user = fleet.device('user', mine)
    await user.ok(['init', '--name', 'user', '--bootstrap', fleet.bootstrap], { through, cwd: '/' })
    const refused = await user.run(['create', 'x', '--disk', image, '--memory', '64M'], { through })
    failed(t, refused, 1, 'IMAGE_UNREADABLE')
    t.alike((await user.ok(['ls'], { through }))['parcels'], [])
    for (const name of ['keys', 'store', 'run']) {
      t.is(
        ((await stat(path.join(mine, name))).mode & 0o777).toString(8),
        '700',
        `${name} is private`
      )
    }
  }
)

async function refuse(t: Assert, home: Device, cases: Case[]): Promise<void> {
  const queue = [...cases]
  const worker = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const run = await home.run(next.args)
      failed(t, run, next.code, next.error, next.args.join(' ').slice(0, 80))
      if (next.says !== undefined) {
        const { message, hint } = run.error ?? {}
        t.ok(next.says.test(`${message} ${hint}`), `${message} ${hint}`)
      }
    }
  }
  // Those that begin to work on one parcel would get into each other's way.
  const alone = queue.filter(({ args }) => args[1] === 'bad' || args[1] === 'work')
  queue.splice(0, queue.length, ...queue.filter((next) => !alone.includes(next)))
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  queue.push(...alone)
  await worker()
}

function failed(t: Assert, run: ProgramRun, code: number, error: string, what = error): void {
  t.alike([run.code, run.error?.code], [code, error], `${what} ${JSON.stringify(run.json)}`)
  t.is(run.stdout.trim().split('\n').length, 1, 'one object')
  t.ok(run.error?.hint, `says what to do: ${run.error?.hint}`)
}

/** What a refused command must not change. */
async function everything(home: Device) {
  return {
    parcels: ((await home.ok(['ls']))['parcels'] as Json[]).map((parcel) => parcel['name']),
    versions: (await home.ok(['log', 'work']))['versions'],
    lease: await home.ok(['lease', 'work']),
    folders: await readdir(path.join(home.home, 'parcels')),
    leftovers: await home.leftovers(),
    run: await readdir(path.join(home.home, 'run')),
    runners: home.processes('runner'),
    mounts: home.mounts()
  }
}

async function images(directory: string): Promise<string> {
  const at = (name: string) => path.join(directory, name)
  const good = at('good.qcow2')
  const data = new Random().bytes(4 * MIB)
  const raw = await rawImage(at('good.img'), data.length, [{ offset: 0, data }])
  await tool('qemu-img', 'convert', '-O', 'qcow2', raw, good)
  await tool(
    'qemu-img',
    'create',
    '-q',
    '-f',
    'qcow2',
    '-b',
    good,
    '-F',
    'qcow2',
    at('backed.qcow2')
  )
  await copyFile(good, at('half.qcow2'))
  await truncate(at('half.qcow2'), 2 * MIB)
  await copyFile(good, at('head.qcow2'))
  await truncate(at('head.qcow2'), 70)
  await copyFile(raw, at('raw.qcow2'))
  await writeFile(at('empty'), '')
  await writeFile(at('text'), 'no image\n'.repeat(1000))
  await mkdir(at('folder'))
  await once(spawn('mkfifo', [at('pipe')]), 'close')
  return raw
}

/** With two letters in the middle exchanged, or one changed where they are the same. */
function swap(text: string): string {
  const at = Math.floor(text.length / 2)
  const [a, b] = [text[at], text[at + 1]]
  return `${text.slice(0, at)}${b}${a === b ? (a === 'y' ? 'b' : 'y') : a}${text.slice(at + 2)}`
}
