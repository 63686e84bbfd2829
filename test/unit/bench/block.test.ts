/** A benchmark that nobody runs rots: here it runs small. Its figures mean nothing. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import test from 'brittle'
import { makeRow, median } from '../../bench/framework.ts'
import { need } from '../../helpers/requirements.ts'

const run = promisify(execFile)
const bench = path.join(import.meta.dirname, '../../bench/run.js')

test('bench: block prints every row as documented', async (t) => {
  if (!need(t, 'fio', 'qemu-tools')) return
  const { stdout } = await run(process.execPath, [bench, 'block', '--json', '--quick'])
  const result = JSON.parse(stdout) as { suite: string; rows: Record<string, unknown>[] }
  t.alike(Object.keys(result), ['suite', 'rows'])
  t.is(result.suite, 'block')
  t.alike(
    result.rows.map((row) => row['name']),
    ['randread-4k-qd1', 'randread-4k-qd32', 'read-256k', 'randwrite-4k-qd32']
  )
  for (const row of result.rows) {
    t.alike(Object.keys(row), ['name', 'ours', 'peer', 'peer_name', 'unit', 'ratio'])
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

test('bench: an unknown suite is a usage error that names the suites', async (t) => {
  const err = await run(process.execPath, [bench, 'nope']).catch((e: unknown) => e)
  const { code, stderr } = err as { code: number; stderr: string }
  t.is(code, 2)
  t.ok(stderr.includes('suites: block'))
})
