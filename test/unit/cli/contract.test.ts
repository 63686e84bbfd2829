/** What every command keeps: exit codes, one JSON object, global options anywhere. */
import { existsSync } from 'node:fs'
import test from 'brittle'
import { EXIT_OF_CODE, HyperparcelError } from '../../../lib/base/errors.ts'
import { COMMANDS, LATER } from '../../../lib/cli/commands/index.ts'
import type { ParcelDetail, ResumeResult } from '../../../lib/daemon/api.ts'
import { typedHint } from '../../../lib/cli/typed.ts'
import { runCli, startCli } from '../../helpers/cli.ts'
import { startFakeDaemon, temporaryHome } from '../../helpers/fake-daemon.ts'

const SHOWN: ParcelDetail = {
  name: 'work',
  state: 'elsewhere',
  version: 2,
  time: '2026-01-01T00:00:00.000Z',
  holder: 'home',
  elsewhere: null,
  memory: true,
  bytes_total: 0,
  bytes_local: 0,
  waiting_ms: 0,
  note: null,
  id: '00',
  epoch: 1,
  versions: 1,
  compression: 3,
  bad_versions: [],
  volumes: [],
  machine: {
    vmm: '',
    vmm_version: '',
    machine_type: '',
    accel: '',
    cpu_model: '',
    cpus: 0,
    memory_bytes: 0
  },
  serial: null,
  vnc: null,
  clock: null,
  bytes_missing: 0,
  complete: true,
  author: 'home',
  replicas: [],
  orders: []
}

const RESUMED: ResumeResult = {
  parcel: 'work',
  version: 2,
  epoch: 1,
  booted: false,
  resume_ms: 1,
  bytes_fetched: 0,
  bytes_nearby: 0,
  sources: [],
  vnc: '/vnc',
  serial: '/serial',
  volumes: {},
  clock: 'rtc',
  damaged_bytes: 0,
  pack: null,
  trace: {}
}

test('what is not known is not shown as empty', async (t) => {
  const { paths } = await startFakeDaemon(t, { show: () => ({ parcel: SHOWN }) })
  const { stdout } = await runCli(['--home', paths.home, 'show', 'work'])
  t.ok(/^state: +elsewhere \(on home\)$/m.test(stdout), stdout)
  t.ok(/^volumes: +not known here yet/m.test(stdout), stdout)
  t.absent(/machine|VMM/.test(stdout), stdout)
})

test('usage errors end with 2 and say what to do', async (t) => {
  const cases: [string[], RegExp][] = [
    [[], /No command/],
    [['resum', 'x'], /Unknown command/],
    [['suspend'], /[Mm]issing required argument/],
    [['suspend', 'a', 'b'], /Too many arguments/],
    [['suspend', 'a', '--nope'], /Unknown option/],
    [['resume', 'a', '--version', 'x'], /--version/],
    [['resume', 'a', '--fetch', 'some'], /--fetch/],
    [['create', 'a', '--memory', '12X'], /--memory/],
    [['create', 'a'], /something to boot from/],
    [['create', 'a', '--initrd', 'f', '--size', '1G'], /--kernel/],
    [['create', 'a', '--from', 'b', '--size', '1G'], /--from/],
    [['invite', '--expires', '10'], /--expires/],
    [['init', '--bootstrap', 'here'], /--bootstrap/],
    [['dht', '--port', '0'], /--port/]
  ]
  for (const [argv, message] of cases) {
    const text = await runCli(argv)
    t.is(text.code, 2, argv.join(' '))
    t.ok(message.test(text.stderr), text.stderr)
    t.is(text.stdout, '')
    const json = await runCli(['--json', ...argv])
    t.is(json.code, 2)
    const error = json.json['error'] as { code: string; message: string; hint: string }
    t.is(error.code, 'USAGE')
    t.ok(error.hint.length > 0, 'with a hint')
    t.is(json.stderr, '')
  }
})

test('errors of the daemon keep their code, and become exit codes', async (t) => {
  let code = ''
  const { paths } = await startFakeDaemon(t, {
    resume: () => {
      throw new HyperparcelError(code, 'No way', { hint: 'Try this.', context: { holder: 'home' } })
    }
  })
  for (const [name, exit] of [...Object.entries(EXIT_OF_CODE), ['ANYTHING', 1] as const]) {
    code = name
    const run = await runCli(['--json', '--home', paths.home, 'resume', 'work'])
    t.is(run.code, exit, name)
    t.alike(run.json, {
      error: { code: name, message: 'No way', hint: 'Try this.', context: { holder: 'home' } }
    })
    t.is(run.stdout.trimEnd().split('\n').length, 1, 'one line')
  }
  const text = await runCli(['--home', paths.home, 'resume', 'work'])
  t.is(text.stdout, '')
  t.is(text.stderr, 'hyperparcel: No way\nTry this.\n')
})

test('hints are typed as they have to be typed here', (t) => {
  const hint = 'Say `hyperparcel resume work`, or there: `hyperparcel suspend work`.'
  t.is(typedHint(hint, undefined), hint)
  t.is(
    typedHint(hint, '/my home'),
    "Say `hyperparcel --home '/my home' resume work`, or there: `hyperparcel suspend work`."
  )
  t.is(typedHint('See "hyperparcel ls".', undefined), 'See `hyperparcel ls`.', 'one kind of quotes')
  t.is(typedHint('See `hyperparcel help ls`.', '/h'), 'See `hyperparcel help ls`.')
})

test('usage errors name the help that fits', async (t) => {
  const cases: [string[], string][] = [
    [['suspend'], 'help suspend'],
    [['daemon', 'run', '--nope'], 'help daemon run'],
    [['daemon', 'frob'], 'help daemon'],
    [['-V'], '--help'],
    [['help', 'nosuch'], '--help']
  ]
  for (const [argv, help] of cases) {
    const run = await runCli(argv)
    t.is(run.code, 2, argv.join(' '))
    t.ok(run.stderr.endsWith(`See \`hyperparcel ${help}\`.\n`), run.stderr)
  }
  t.ok((await runCli(['help', 'daemon', 'run'])).stdout.startsWith('Usage: hyperparcel daemon run'))
  t.ok((await runCli(['help', 'nosuch'])).stderr.includes('Unknown command nosuch'))
  t.ok((await runCli(['help', 'invite'])).stdout.includes('(default: 10m)'))
})

test('global options stand before and after the command', async (t) => {
  const { paths, calls } = await startFakeDaemon(t, { ls: () => ({ parcels: [] }) })
  const home = paths.home
  for (const argv of [
    ['--home', home, '--json', 'ls'],
    ['ls', '--home', home, '--json'],
    ['--json', 'ls', `--home=${home}`],
    ['--home', '/somewhere/else', '--json', 'ls', '--home', home]
  ]) {
    const run = await runCli(argv)
    t.is(run.code, 0)
    t.alike(run.json, { parcels: [] }, argv.join(' '))
  }
  const run = await runCli(['ls', '--json'], { env: { HYPERPARCEL_HOME: home } })
  t.alike(run.json, { parcels: [] }, 'HYPERPARCEL_HOME')
  t.is(calls.length, 5)
})

test('help and version', async (t) => {
  const help = await runCli(['--help'])
  t.is(help.code, 0)
  for (const { usage } of COMMANDS) t.ok(help.stdout.includes(`  ${usage.split(' ')[0]}`), usage)
  for (const line of ['4    the lease is held elsewhere', '130  interrupted']) {
    t.ok(help.stdout.includes(line), line)
  }
  for (const { usage, example } of COMMANDS) {
    const name = usage.split(' ')[0]
    for (const argv of [
      ['help', name],
      [name, '--help']
    ]) {
      const one = await runCli(argv)
      t.is(one.code, 0, argv.join(' '))
      t.ok(one.stdout.includes(example.split('\n')[0]), 'with its example')
    }
  }
  t.ok(/^\d+\.\d+\.\d+/.test((await runCli(['--version'])).stdout))
  t.is(typeof (await runCli(['--help', '--json'])).json['help'], 'string')
})

test('the first line of each example can be parsed', async (t) => {
  for (const command of COMMANDS.flatMap((c) => [c, ...(c.subcommands ?? [])])) {
    const line = command.example.split('\n')[0].split('|').at(-1)!.trim()
    const words = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map((m) => m[1] ?? m[2]).slice(1)
    const run = await runCli([...words, '--help'])
    t.is(run.code, 0, line)
  }
})

test('commands of a later version say so', async (t) => {
  const help = (await runCli(['--help'])).stdout
  for (const name of LATER) {
    const run = await runCli(['--json', ...name.split(' '), 'x'])
    t.is(run.code, 1, name)
    t.is((run.json['error'] as { code: string }).code, 'NOT_IMPLEMENTED')
    if (!name.includes(' ')) t.absent(new RegExp(`^  ${name} `, 'm').test(help), 'not in the help')
  }
})

test('a home without a fleet starts no daemon', async (t) => {
  const paths = await temporaryHome(t)
  const run = await runCli(['--home', `${paths.home}-new`, 'ls', '--json'])
  t.is(run.code, 1)
  t.is((run.json['error'] as { code: string }).code, 'NO_FLEET')
  t.absent(existsSync(`${paths.home}-new/daemon.log`))
})

test('Ctrl-C cancels what is under way and ends with 130', async (t) => {
  let reason: unknown = null
  const { paths } = await startFakeDaemon(t, {
    resume: (_params, { event, signal }) => {
      event({ phase: 'fetching memory', done: 1, total: 2, unit: 'bytes' })
      return new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          reason = signal.reason
          reject(signal.reason as Error)
        })
      })
    }
  })
  const run = startCli(['--home', paths.home, '--json', 'resume', 'work'])
  await run.saw('fetching memory')
  run.interrupt()
  const { code, json } = await run.done
  t.is(code, 130)
  t.is((json['error'] as { code: string }).code, 'INTERRUPTED')
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.is((reason as HyperparcelError).code, 'INTERRUPTED', 'the daemon was told')
})

test('after Ctrl-C a resume says whether the parcel runs', async (t) => {
  let state: 'running' | 'suspended' = 'running'
  const { paths } = await startFakeDaemon(t, {
    resume: (_params, { event, signal }) => {
      event({ phase: 'booting' })
      return new Promise((resolve, reject) => {
        const done = () =>
          state === 'running' ? resolve(RESUMED) : reject(signal.reason as HyperparcelError)
        signal.addEventListener('abort', () => setTimeout(done, 20))
      })
    },
    show: () => ({ parcel: { ...SHOWN, state } })
  })
  for (const [now, message, hint] of [
    ['running', 'Interrupted: work is running now', 'suspend work'],
    ['suspended', 'Interrupted: work is suspended now', 'resume work']
  ] as const) {
    state = now
    const run = startCli(['--home', paths.home, '--json', 'resume', 'work'])
    await run.saw('booting')
    run.interrupt()
    const { code, json, stdout } = await run.done
    t.is(code, 130)
    t.is(stdout.trimEnd().split('\n').length, 1)
    const error = json['error'] as { message: string; hint: string; context: { state: string } }
    t.is(error.message, message)
    t.ok(error.hint.includes(`hyperparcel --home ${paths.home} ${hint}`), error.hint)
    t.is(error.context.state, now)
  }
})

test('a daemon that dies under a request is an error with a hint', async (t) => {
  const daemon = await startFakeDaemon(t, {
    suspend: (_params, { event }) => {
      event({ phase: 'storing' })
      return new Promise(() => {})
    }
  })
  const run = startCli(['--home', daemon.paths.home, '--json', 'suspend', 'work'])
  await run.saw('storing')
  await daemon.stop()
  const { code, json } = await run.done
  t.is(code, 1)
  t.is((json['error'] as { code: string }).code, 'DAEMON_GONE')
})

test('destructive verbs need --yes without a terminal', async (t) => {
  const { paths, calls } = await startFakeDaemon(t, {
    lease: ({ name }) => {
      if (name !== 'work') throw new HyperparcelError('PARCEL_NOT_FOUND', 'There is none')
      return { parcel: name, holder: 'home', epoch: 1, state: 'held' }
    },
    discard: () => ({ parcel: 'work', version: 3 })
  })
  for (const verb of ['discard', 'evict', 'remove']) {
    const run = await runCli(['--home', paths.home, verb, 'nope', '--json'])
    t.is(run.code, 3, `${verb}: no question about a parcel that is not there`)
  }
  const refused = await runCli(['--home', paths.home, 'discard', 'work', '--json'])
  t.is(refused.code, 7)
  t.is((refused.json['error'] as { code: string }).code, 'CONFIRM')
  t.absent(calls.some(({ method }) => method === 'discard'))
  const done = await runCli(['--home', paths.home, 'discard', 'work', '--yes', '--json'])
  t.is(done.code, 0)
  t.alike(done.json, { parcel: 'work', version: 3 })
})

test('progress is on stderr only: lines on a terminal, JSON lines with --json, nothing otherwise', async (t) => {
  const { paths } = await startFakeDaemon(t, {
    ls: (_params, { event }) => {
      event({ phase: 'reading', done: 1, total: 1, unit: 'items' })
      return { parcels: [] }
    }
  })
  const ls = ['--home', paths.home, 'ls']
  t.is((await runCli(ls)).stderr, '')
  t.is((await runCli([...ls, '--quiet'], { terminal: true })).stderr, '')
  t.ok((await runCli(ls, { terminal: true })).stderr.startsWith('\r\u001b[Kreading  1 of 1  100%'))
  const json = await runCli([...ls, '--json'])
  t.is((JSON.parse(json.stderr) as { phase: string }).phase, 'reading')
  t.is((await runCli([...ls, '--json', '--quiet'])).stderr, '')
})
