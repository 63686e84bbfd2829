/** What the commands about parcels and versions as a whole ask of the daemon, and what they print. */
import test from 'brittle'
import type { LogConflict } from '../../../lib/daemon/api-status.ts'
import type { VerifyResult } from '../../../lib/daemon/api-versions.ts'
import { runCli } from '../../helpers/cli.ts'
import { startFakeDaemon } from '../../helpers/fake-daemon.ts'

const CLEAN: VerifyResult = {
  parcel: 'work',
  checked: 40,
  bytes_checked: 2048,
  missing: 0,
  bad: 0,
  repaired: 0,
  bad_versions: [],
  missing_versions: [],
  found: []
}

const NO_TRAFFIC = { bytes_received: 0, bytes_sent: 0, blocks_received: 0, blocks_sent: 0 }

test('create --from sends no machine of its own', async (t) => {
  const { paths, calls } = await startFakeDaemon(t, {
    create: () => ({ parcel: 'copy', version: 1, bytes_read: 0, bytes_stored: 300 })
  })
  const run = await runCli(['--home', paths.home, 'create', 'copy', '--from', 'work@3'])
  t.is(run.code, 0, run.stderr)
  t.alike(JSON.parse(JSON.stringify(calls[0].params)), {
    name: 'copy',
    disks: [],
    from: { parcel: 'work', version: 3 },
    vmm: 'qemu'
  })
  t.ok(run.stdout.startsWith('Created copy from work.'), run.stdout)
  const mixed = ['create', 'copy', '--from', 'work', '--iso', 'x.iso']
  t.is((await runCli(['--home', paths.home, ...mixed])).code, 2)
})

test('rename, rollback', async (t) => {
  const { paths, calls } = await startFakeDaemon(t, {
    rename: (params) => ({ parcel: params.to }),
    rollback: (params) => ({ parcel: params.name, version: 9 })
  })
  const home = ['--home', paths.home]
  t.is((await runCli([...home, 'rename', 'a', 'b'])).stdout, 'a is now called b.\n')
  t.alike((await runCli([...home, '--json', 'rollback', 'a', '3'])).json, {
    parcel: 'a',
    version: 9
  })
  t.alike(calls[1].params, { name: 'a', version: 3 })
  t.is((await runCli([...home, 'rollback', 'a', '0'])).code, 2)
})

test('remove and evict need --yes without a terminal', async (t) => {
  const { paths, calls } = await startFakeDaemon(t, {
    lease: ({ name }) => ({ parcel: name, holder: null, epoch: 1, state: 'free' }),
    remove: ({ name }) => ({ parcel: name, bytes_freed: 0 }),
    evict: ({ name }) => ({
      parcel: name,
      bytes_freed: 4096,
      blocks_dropped: 1,
      bytes_fetched: 0,
      bytes_missing: 1
    })
  })
  for (const verb of ['remove', 'evict']) {
    const refused = await runCli(['--home', paths.home, '--json', verb, 'work'])
    t.is(refused.code, 7)
    t.is((refused.json['error'] as { code: string }).code, 'CONFIRM')
    t.is((await runCli(['--home', paths.home, verb, 'work', '--yes'])).code, 0)
  }
  t.alike(
    calls.map(({ method }) => method),
    ['lease', 'remove', 'lease', 'evict'],
    'is it there at all?'
  )
})

test('prune says what goes before it asks', async (t) => {
  const { paths, calls } = await startFakeDaemon(t, {
    prune: ({ name, dryRun }) => ({
      parcel: name,
      bytes_freed: dryRun === true ? 0 : 2 * 1024 ** 2,
      bytes_pending: dryRun === true ? 0 : 1024 ** 2,
      bytes_expected: 3 * 1024 ** 2,
      blocks_dropped: 48,
      segments_mostly_dead: 7,
      segments_rewritten: dryRun === true ? 0 : 7,
      maps_reissued: dryRun === true ? 0 : 2,
      bytes_rewritten: dryRun === true ? 0 : 65_536,
      kept: [6, 7],
      dropped: [1, 2, 3, 5],
      only_copies: [5]
    })
  })
  const argv = ['--home', paths.home, 'prune', 'work', '--keep', '2']
  const refused = await runCli([...argv, '--json'])
  const { code, message } = refused.json['error'] as { code: string; message: string }
  t.alike([refused.code, code], [7, 'CONFIRM'])
  t.ok(
    message.includes(
      'versions 1 to 3, 5 of work on this device and rewrites 7 segments that are mostly dead, about 3.0 MiB'
    ),
    message
  )
  t.ok(message.includes('No other device is known to have version 5'), message)
  t.is((await runCli([...argv, '--dry-run'])).code, 0)
  const done = await runCli([...argv, '--yes'])
  t.alike(
    calls.map(({ params }) => JSON.parse(JSON.stringify(params)) as unknown),
    [
      { name: 'work', keep: 2, dryRun: true },
      { name: 'work', keep: 2, dryRun: true },
      { name: 'work', keep: 2 }
    ]
  )
  t.ok(done.stdout.startsWith('Gave 2.0 MiB back: versions 1 to 3, 5 of work dropped'))
  t.ok(done.stdout.includes('Another 1.0 MiB come back when'), done.stdout)
  t.is((await runCli(['--home', paths.home, 'prune', 'work'])).code, 2)
  t.is((await runCli(['--home', paths.home, 'prune', 'work', '--keep', '0'])).code, 2)
})

test('a disk that fills up is mentioned beside the result', async (t) => {
  const low_space = {
    bytes_free: 1024 ** 3,
    bytes_prunable: 5 * 1024 ** 3,
    command: 'hyperparcel prune work --keep 3'
  }
  const { paths } = await startFakeDaemon(t, {
    create: () => ({ parcel: 'a', version: 1, bytes_read: 0, bytes_stored: 0, low_space })
  })
  const argv = ['--home', paths.home, 'create', 'a', '--size', '1G']
  const text = await runCli(argv)
  t.ok(text.stderr.includes('Only 1.0 GiB are free'), text.stderr)
  t.ok(text.stderr.includes('prune work --keep 3` would give about 5.0 GiB back'), text.stderr)
  t.ok(text.stderr.includes(`\`hyperparcel --home ${paths.home} prune`), 'as it is typed here')
  const json = await runCli([...argv, '--json'])
  t.alike([json.stderr, json.json['low_space']], ['', low_space])
})

test('verify ends with 6 when something is bad, and says how much', async (t) => {
  let result = CLEAN
  const { paths, calls } = await startFakeDaemon(t, { verify: () => result })
  const home = ['--home', paths.home]
  const clean = await runCli([...home, '--json', 'verify'])
  t.alike([clean.code, clean.json], [0, CLEAN])
  t.alike(JSON.parse(JSON.stringify(calls[0].params)), { repair: false })
  const versions = [3, 1, 2].map((version) => ({ parcel: 'work', version }))
  result = { ...CLEAN, bad: 2, missing: 3, bad_versions: versions }
  const bad = await runCli([...home, '--json', 'verify', 'work', '--version', '2', '--repair'])
  t.alike(calls[1].params, { name: 'work', version: 2, repair: true })
  t.is(bad.code, 6)
  t.is(bad.stdout.trimEnd().split('\n').length, 1, 'one object')
  t.alike([bad.json['bad'], (bad.json['error'] as { code: string }).code], [2, 'DATA_CORRUPT'])
  const text = await runCli([...home, 'verify', 'work'])
  t.is(text.code, 6)
  t.ok(
    /2 bad, 0 repaired.\nBad in work: versions 1 to 3.\n3 blocks are not stored here/.test(
      text.stdout
    ),
    text.stdout
  )
  t.is((await runCli([...home, 'verify', '--version', '2'])).code, 2)
  result = { ...CLEAN, missing: 3 }
  const missing = await runCli([...home, '--json', 'verify', 'work', '--version', '2'])
  t.alike([missing.code, missing.json['missing']], [5, 3], 'what was asked for is not here')
  t.is((await runCli([...home, '--json', 'verify', 'work'])).code, 0)
})

test('stats as text', async (t) => {
  const { paths } = await startFakeDaemon(t, {
    stats: () => ({
      parcel: null,
      parcels: 1,
      versions: 3,
      bytes_total: 3 * 1024 ** 2,
      bytes_new: 1024 ** 2,
      bytes_packed: 1024 ** 2 / 2,
      dedup_ratio: 3,
      bytes_local: 1024 ** 2,
      bytes_stored: 1024 ** 2,
      chunks_indexed: 256,
      logs: 2,
      sources: [
        {
          name: 'office',
          kind: 'device',
          bytes_received: 2048,
          bytes_sent: 4096,
          received_per_second: 1024,
          sent_per_second: 0
        }
      ],
      transfers: [
        {
          parcel: 'other',
          version: 7,
          why: 'follow',
          bytes_done: 1024,
          bytes_total: 4096,
          per_second: 512,
          eta_ms: 6000,
          sources: [{ name: 'office', kind: 'device', bytes: 1024, per_second: 1024 }]
        }
      ],
      packs: { made: 0, cancelled: 0, failed: 0, bad: 0 },
      peers: [
        {
          name: 'office',
          rtt_ms: 1,
          bytes_received: 1,
          bytes_sent: 1,
          blocks_received: 5,
          block_bytes_received: 2048,
          demand_bytes_received: 0,
          blocks_sent: 6,
          block_bytes_sent: 4096,
          blocks_wasted: 0,
          hedges: 0,
          hedges_won: 0,
          rate_down: null,
          base_rtt_ms: null,
          path: 'wan',
          lan: NO_TRAFFIC,
          wan: NO_TRAFFIC
        }
      ],
      running: [
        {
          parcel: 'work',
          state: 'running',
          dirty_bytes: 8192,
          ahead_bytes: 4096,
          bytes_fetched: 0,
          waiting_ms: 0,
          faults: 3,
          stalled_ms: 120,
          faults_in_pack: 0,
          faults_in_pack_ms: 0,
          answer_bytes: null
        }
      ]
    })
  })
  const { stdout } = await runCli(['--home', paths.home, 'stats'])
  const lines = ['3, of 1 parcel', '3 : 1', 'work (running):', 'at least', 'office']
  lines.push('all parcels\n  versions:', 'this device, all parcels\n  store:', 'fetching other:')
  lines.push('version 7 (follow), 1.0 KiB of 4.0 KiB, 512 B/s, 6.0 s left, from office 1.0 KiB/s')
  for (const line of lines) {
    t.ok(stdout.includes(line), line)
  }
})

test('status tells of logs with two histories', async (t) => {
  const conflict: LogConflict = {
    log: 'aa'.repeat(32),
    parcel: 'work',
    author: 'office',
    shown_by: 'laptop',
    lengths: [7, 9],
    seen: '2026-01-02T03:04:05.678Z'
  }
  const conflicts = [conflict]
  const glance = { device: 'a', fleet: null, role: null, home: '/', peers: 0, online: [] }
  const { paths } = await startFakeDaemon(t, {
    status: () => ({
      ...glance,
      running: [],
      orders: [],
      bytes_stored: 0,
      bytes_free: 0,
      conflicts
    })
  })
  const argv = ['--home', paths.home, 'status']
  const text = await runCli(argv)
  t.ok(text.stderr.includes('office has signed two histories of its log of work'), text.stderr)
  const json = await runCli([...argv, '--json'])
  t.alike([json.stderr, json.json['conflicts']], ['', conflicts])
})
