/** A benchmark that nobody runs rots: here it runs small. Its figures mean nothing. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import test from 'brittle'
import { fixed, makeRow, median, rowOf } from '../../bench/framework.ts'
import { need } from '../../helpers/requirements.ts'

const run = promisify(execFile)
const bench = path.join(import.meta.dirname, '../../bench/run.js')

test('bench: block prints every row as documented', async (t) => {
  if (!need(t, 'fio', 'qemu-tools')) return
  const { stdout } = await run(process.execPath, [bench, 'block', '--json', '--small'])
  const result = JSON.parse(stdout) as { suite: string; rows: Record<string, unknown>[] }
  t.alike(Object.keys(result), ['suite', 'machine', 'rows'])
  t.is(result.suite, 'block')
  t.alike(
    result.rows.map((row) => row['name']),
    ['randread-4k-qd32', 'randread-4k-qd1', 'read-256k', 'randwrite-4k-qd32']
  )
  t.alike(
    result.rows.map((row) => row['goal']),
    [2, 1, 2, 1]
  )
  for (const row of result.rows) {
    for (const key of ['name', 'ours', 'peer', 'peer_name', 'unit', 'ratio']) t.ok(key in row, key)
    t.ok(Number(row['ours']) > 0 && Number(row['peer']) > 0 && Number(row['ratio']) > 0)
  }
})

test('bench: a ratio above 1 means that we are better', (t) => {
  const figures = { name: 'x', unit: 's', peerName: 'p', ours: 2, peer: 4 }
  t.is(makeRow({ ...figures, better: 'lower' }).ratio, 2)
  t.is(makeRow({ ...figures, better: 'higher' }).ratio, 0.5)
  t.is(median([3, 1, 2]), 2)
  t.is(median([4, 1, 2, 3]), 2.5)
})

test('bench: the best of several peers counts, the others are told', (t) => {
  const plan = { name: 'x', unit: 's', better: 'lower', goal: 1.5, dataBytes: 2e9 } as const
  const ours = { name: 'ours', samples: [1, 3, 2].map((value) => ({ value, cpuSeconds: 4 })) }
  const row = rowOf(plan, ours, [fixed('slow', 9), fixed('fast', 4), fixed('slower', 10)])
  t.alike([row.peer_name, row.peer, row.ours, row.ratio], ['fast', 4, 2, 2])
  t.alike([row.ours_spread, row.rounds, row.goal], [[1, 3], 3, 1.5])
  t.alike([row.ours_cpu_s_per_gb, row.peer_cpu_s_per_gb], [2, undefined])
  t.alike(row.details, { 'slow s': 9, 'slower s': 10 })
  const rate = rowOf({ ...plan, better: 'higher' }, ours, [fixed('slow', 4), fixed('fast', 10)])
  t.alike([rate.peer_name, rate.ratio], ['fast', 0.2])
})

test('bench: an unknown suite is a usage error that names the suites', async (t) => {
  const err = await run(process.execPath, [bench, 'nope']).catch((e: unknown) => e)
  const { code, stderr } = err as { code: number; stderr: string }
  t.is(code, 2)
  t.ok(stderr.includes('suites: block'))
})
