/** What each command asks of the daemon, and what it prints. */
import test from 'brittle'
import { runCli, startCli } from '../../helpers/cli.ts'
import { startFakeDaemon } from '../../helpers/fake-daemon.ts'

const RESUMED = {
  parcel: 'work',
  version: 3,
  epoch: 2,
  booted: false,
  resume_ms: 912,
  bytes_nearby: 0,
  bytes_fetched: 2 * 1024 ** 2,
  sources: [],
  vnc: '/run/vnc.sock',
  serial: '/run/serial.sock',
  volumes: { disk0: 'nbd+unix:///?socket=/run/disk0.sock' },
  clock: 'rtc',
  damaged_bytes: 0,
  pack: null,
  trace: {}
}

const NOTHING_MOVED = {
  block_bytes_received: 0,
  block_bytes_sent: 0,
  received_per_second: 0,
  sent_per_second: 0
}

test('create: paths become absolute, sizes bytes', async (t) => {
  const { paths, calls } = await startFakeDaemon(t, {
    create: () => ({ parcel: 'work', version: 1, bytes_read: 2048, bytes_stored: 1024 })
  })
  const argv = 'create work --disk a.qcow2 --disk /b.raw --size 20G --memory 1G --cpus 2'.split(' ')
  argv.push('--kernel', 'vmlinuz', '--append', 'console=ttyS0 quiet')
  const run = await runCli(['--home', paths.home, ...argv])
  t.is(run.code, 0, run.stderr)
  t.alike(JSON.parse(JSON.stringify(calls[0].params)), {
    name: 'work',
    disks: ['/images/a.qcow2', '/b.raw'],
    sizeBytes: 20 * 1024 ** 3,
    memoryBytes: 1024 ** 3,
    cpus: 2,
    kernel: { kernel: '/images/vmlinuz', append: 'console=ttyS0 quiet' },
    vmm: 'qemu'
  })
  t.ok(run.stdout.includes('read 2.0 KiB, stored 1.0 KiB'))
})

test('resume: options and both outputs', async (t) => {
  const { paths, calls } = await startFakeDaemon(t, { resume: () => RESUMED })
  const options = '--version 3 --fetch all --offline --handoff --from-crash disk'.split(' ')
  const json = await runCli(['--home', paths.home, '--json', 'resume', 'work', ...options])
  t.alike(json.json, RESUMED)
  t.alike(calls[0].params, {
    name: 'work',
    version: 3,
    fetch: 'all',
    offline: true,
    handoff: true,
    fromCrash: 'disk'
  })
  const text = await runCli(['--home', paths.home, 'resume', 'work'])
  t.ok(text.stdout.startsWith('work runs (version 3) after 0.91 s; 2.0 MiB fetched so far.\n'))
  t.alike(calls[1].params, { name: 'work' })
})

test('suspend: options and both outputs', async (t) => {
  const result = {
    parcel: 'work',
    version: 4,
    suspend_ms: 1500,
    pause_ms: 300,
    bytes_new: 4096,
    bytes_stored: 2048,
    replicas: 1,
    lease_delivered: true,
    trace: {}
  }
  const { paths, calls } = await startFakeDaemon(t, { suspend: () => result })
  const argv = ['--home', paths.home, 'suspend', 'work', '--to', 'office', '-m', 'end of the day']
  const text = await runCli([...argv, '--wait-replicas', '1'])
  t.alike(calls[0].params, {
    name: 'work',
    to: 'office',
    message: 'end of the day',
    waitReplicas: 1
  })
  t.ok(text.stdout.includes('version 4 after 1.5 s'), text.stdout)
  t.ok(text.stdout.includes('office has the lease'))
  t.alike((await runCli([...argv, '--json'])).json, result)
})

test('init prints the phrase once, on stdout', async (t) => {
  const result = { device: 'home', fleet: 'ab12', recovery_phrase: 'legal winner thank' }
  const { paths, calls } = await startFakeDaemon(t, { init: () => result })
  const argv = [
    '--home',
    paths.home,
    'init',
    '--name',
    'home',
    '--bootstrap',
    'h:1,h:2',
    '--no-lan'
  ]
  const run = await runCli(argv)
  t.alike(calls[0].params, { device: 'home', bootstrap: ['h:1', 'h:2'], lan: false })
  t.is(run.stdout.split('legal winner thank').length, 2)
  t.absent(run.stderr.includes('legal'))
  t.alike((await runCli([...argv, '--json'])).json, result)
  await runCli(['--home', paths.home, 'init'])
  t.alike(calls[2].params, {}, 'what was not said stays as stored')
})

test('keys are shown short, and a name that was taken is no secret', async (t) => {
  const fleet = 'ab12cd34'.repeat(8)
  const { paths } = await startFakeDaemon(t, {
    join: () => ({ device: 'home-2', fleet, role: 'device' })
  })
  const argv = ['--home', paths.home, 'join', 'hp1invite', '--name', 'home']
  const { stdout } = await runCli(argv)
  t.alike(stdout.split('\n').slice(0, 2), [
    'This machine is now the device home-2 of the fleet ab12cd34.',
    'The fleet has another device called home, so this one got a new name.'
  ])
  t.is((await runCli([...argv, '--json'])).json['fleet'], fleet)
})

test('a parcel that was suspended already says so', async (t) => {
  const { paths } = await startFakeDaemon(t, {
    suspend: () => ({
      parcel: 'work',
      version: 4,
      suspend_ms: 10,
      pause_ms: 0,
      bytes_new: 0,
      bytes_stored: 0,
      replicas: 1,
      lease_delivered: true,
      already_suspended: true,
      trace: {}
    })
  })
  const run = await runCli(['--home', paths.home, 'suspend', 'work', '--to', 'office'])
  t.ok(run.stdout.startsWith('work is suspended already: version 4; 1 peer holds'), run.stdout)
  t.ok(run.stdout.includes('office has the lease: this device may be switched off.'), run.stdout)
})

test('invite prints the invite before it waits', async (t) => {
  let used = () => {}
  const { paths, calls } = await startFakeDaemon(t, {
    invite: async (params, { event }) => {
      event({ phase: 'waiting for the other device', invite: 'hp1invite' })
      if (params.wait) await new Promise<void>((resolve) => (used = resolve))
      return { invite: 'hp1invite', paired: params.wait ? 'office' : null }
    }
  })
  const home = ['--home', paths.home]
  const run = startCli([...home, 'invite', '--expires', '1h'])
  await run.saw('hp1invite\n')
  t.is(run.stdout(), 'hp1invite\n')
  used()
  t.is((await run.done).stdout, 'hp1invite\nPaired with office.\n')
  t.alike(calls[0].params, { role: 'device', expiresMs: 3_600_000, wait: true })

  const json = startCli([...home, '--json', 'invite', '--cache'])
  await json.saw('hp1invite')
  t.is(json.stdout(), '', 'stdout has the object at the end only')
  t.is((JSON.parse(json.stderr()) as { invite: string }).invite, 'hp1invite')
  used()
  t.alike((await json.done).json, { invite: 'hp1invite', paired: 'office' })

  const short = await runCli([...home, 'invite', '--no-wait'])
  t.is(short.stdout, 'hp1invite\n')
})

test('join reads the invite from its argument or from stdin', async (t) => {
  const { paths, calls } = await startFakeDaemon(t, {
    join: () => ({ device: 'office', fleet: 'ab12', role: 'device' })
  })
  const home = ['--home', paths.home]
  const run = await runCli([...home, 'join', 'hp1invite', '--name', 'office'])
  t.is(run.stdout, 'This machine is now the device office of the fleet ab12.\n')
  await runCli([...home, 'join', '-', '--quota', '1G'], { input: 'hp1other\n' })
  t.alike(calls[1].params, { invite: 'hp1other', quotaBytes: 1024 ** 3 })
  t.is((await runCli([...home, 'join', '-'], { input: '' })).code, 2)
})

test('devices, ls and log are tables', async (t) => {
  const time = new Date(Date.now() - 3 * 86_400_000).toISOString()
  const { paths } = await startFakeDaemon(t, {
    devices: () => ({
      devices: [
        {
          name: 'home',
          role: 'device',
          online: true,
          rtt_ms: null,
          path: null,
          links: [],
          last_seen: time,
          self: true,
          ...NOTHING_MOVED
        },
        {
          name: 'office',
          role: 'device',
          online: true,
          rtt_ms: 3.21,
          path: 'lan',
          links: [],
          last_seen: time,
          self: false,
          ...NOTHING_MOVED
        },
        {
          name: 'shelf',
          role: 'cache',
          online: false,
          rtt_ms: null,
          path: null,
          links: [],
          last_seen: time,
          self: false,
          ...NOTHING_MOVED
        }
      ]
    }),
    ls: () => ({
      parcels: [
        {
          name: 'work',
          state: 'elsewhere',
          version: 12,
          time,
          holder: 'office',
          elsewhere: 'running',
          memory: true,
          bytes_total: 1024 ** 3,
          bytes_local: 1024 ** 2,
          waiting_ms: 0,
          note: null
        }
      ]
    }),
    log: () => ({
      parcel: 'work',
      versions: [
        {
          version: 2,
          parent: 1,
          epoch: 1,
          device: 'home',
          time,
          message: 'end\u001b[2J',
          bytes_new: 4096,
          bytes_local: 1,
          bytes_total: 2,
          complete: false,
          replicas: 1,
          memory: true,
          cause: 'checkpoint'
        },
        {
          version: 4,
          parent: 2,
          epoch: 1,
          device: 'home',
          time,
          message: '',
          bytes_new: 4096,
          bytes_local: 2,
          bytes_total: 2,
          complete: true,
          replicas: 1,
          memory: true,
          cause: 'suspend'
        }
      ]
    })
  })
  const home = ['--home', paths.home]
  t.alike((await runCli([...home, 'devices'])).stdout.trimEnd().split('\n'), [
    'NAME             ROLE    SEEN        PATH           ROUND TRIP  RECEIVED  SENT',
    'home (this one)  device  online      -              -           -         -',
    'office           device  online      local network  3.2 ms      -         -',
    'shelf            cache   3 days ago  -              -           -         -'
  ])
  t.alike((await runCli([...home, 'ls'])).stdout.trimEnd().split('\n'), [
    'NAME  STATE                          VERSION  MADE        LEASE   HERE     SIZE',
    'work  elsewhere (running on office)       12  3 days ago  office  1.0 MiB  1.0 GiB'
  ])
  const log = (await runCli([...home, 'log', 'work'])).stdout
  t.ok(log.includes('1 B of 2 B') && log.includes('all 2 B'), log)
  t.ok(/^2 .* checkpoint /m.test(log), log)
  t.ok(/^4 \(after 2\) .* suspended /m.test(log), log)
  t.absent(log.includes('\u001b'))
})

test('serve prints the addresses at once and ends the session on Ctrl-C', async (t) => {
  const volumes = { disk0: 'nbd+unix:///?socket=/run/disk0.sock' }
  const { paths, calls } = await startFakeDaemon(t, {
    serve: () => ({ parcel: 'work', version: 3, session: 's1', volumes }),
    'serve.stop': () => ({ parcel: 'work', version: 4 })
  })
  const home = ['--home', paths.home, '--json', 'serve', 'work']
  const run = startCli([...home, '--writable'])
  await run.saw('\n')
  t.alike(JSON.parse(run.stdout()), { parcel: 'work', version: 3, volumes })
  run.interrupt()
  const { code, json } = await run.done
  t.is(code, 0)
  t.alike(json, { parcel: 'work', volumes, version: 4 })
  t.alike(calls[1], { method: 'serve.stop', params: { session: 's1' } })

  const reading = startCli(home)
  await reading.saw('\n')
  reading.interrupt()
  const ended = await reading.done
  t.is(ended.stdout.trimEnd().split('\n').length, 1, 'nothing new to say at the end')
  t.is(calls[3].method, 'serve.stop')
})

test('serve notices that the daemon is gone', async (t) => {
  const daemon = await startFakeDaemon(t, {
    serve: () => ({ parcel: 'work', version: 3, session: 's1', volumes: {} })
  })
  const run = startCli(['--home', daemon.paths.home, '--json', 'serve', 'work'])
  await run.saw('\n')
  await daemon.stop()
  t.is(((await run.done).json['error'] as { code: string }).code, 'DAEMON_GONE')
})

test('export: the file is absolute', async (t) => {
  const { paths, calls } = await startFakeDaemon(t, {
    export: (params) => ({
      parcel: 'work',
      version: 3,
      running: true,
      file: params.file,
      bytes: 1024
    })
  })
  const run = await runCli(['--home', paths.home, 'export', 'work', 'out.raw'])
  t.alike(calls[0].params, {
    name: 'work',
    file: '/images/out.raw',
    volume: 'disk0',
    format: 'raw'
  })
  const wrote = 'Wrote 1.0 KiB to /images/out.raw'
  const stale = ': work as version 3 has it, without what changed since it runs.\n'
  t.is(run.stdout, wrote + stale)
  const old = await runCli(['--home', paths.home, 'export', 'work', 'out.raw', '--version', '3'])
  t.is(old.stdout, `${wrote}.\n`)
})

test('doctor needs no daemon and answers in both forms', async (t) => {
  const json = await runCli(['--home', '/nonexistent/home', 'doctor', '--json'])
  t.is(json.code, json.json['able'] === true ? 0 : 1)
  const checks = json.json['checks'] as { name: string; state: string; found: string }[]
  t.is(checks.find((check) => check.name === 'node')?.state, 'ok')
  t.is(typeof json.json['able'], 'boolean')
  t.ok((await runCli(['doctor'])).stdout.includes('Node.js'))
})

test('daemon status and stop where none runs', async (t) => {
  const { paths, stop } = await startFakeDaemon(t, {})
  await stop()
  for (const verb of [['daemon'], ['daemon', 'status'], ['daemon', 'stop']]) {
    const run = await runCli(['--home', paths.home, '--json', ...verb])
    t.is(run.code, 0)
    t.alike(run.json, { pid: null, peers: 0, address: null })
  }
})
