/** The benchmark of transfers, at its smallest, so that it cannot rot. Its figures mean nothing. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import test from 'brittle'
import type { BenchRow } from '../bench/framework.ts'

const run = promisify(execFile)
const bench = path.join(import.meta.dirname, '../bench/run.js')

test('bench: net measures what needs no root', { timeout: 180_000 }, async (t) => {
  const { stdout } = await run(process.execPath, [
    bench,
    'net',
    '--json',
    '--small',
    '--rounds',
    '1'
  ])
  const { suite, rows } = JSON.parse(stdout) as { suite: string; rows: BenchRow[] }
  t.is(suite, 'net')
  t.alike(
    rows.map(({ name }) => name),
    ['lan-bulk']
  )
  for (const row of rows) t.ok(row.ours > 0 && row.peer > 0 && row.goal! > 0, row.name)
})
