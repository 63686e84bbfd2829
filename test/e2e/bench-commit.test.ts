/** The benchmark of commits, at its smallest, so that it cannot rot. Its figures mean nothing. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import test from 'brittle'
import type { BenchRow } from '../bench/framework.ts'
import { need } from '../helpers/requirements.ts'

const run = promisify(execFile)
const bench = path.join(import.meta.dirname, '../bench/run.js')
const ROWS = [
  'import-time',
  'import-size',
  'coldread',
  'idle-suspend',
  'coldread-p99-busy',
  'memory',
  'clone-8g'
]

test('bench: commit measures every row', { timeout: 300_000 }, async (t) => {
  if (!need(t, 'qemu', 'qemu-tools', 'fuse', 'fio', 'archivers')) return
  const args = [bench, 'commit', '--json', '--small', '--rounds', '1']
  const { stdout } = await run(process.execPath, args)
  const { suite, machine, rows } = JSON.parse(stdout) as {
    suite: string
    machine: { cpus: number }
    rows: BenchRow[]
  }
  t.is(suite, 'commit')
  t.ok(machine.cpus > 0)
  t.alike(
    rows.map((row) => row.name),
    ROWS
  )
  for (const row of rows) {
    t.ok(row.ours > 0 && row.peer > 0 && row.ratio > 0 && row.goal! > 0, row.name)
    if (row.name !== 'import-size') t.is(row.rounds, 1)
  }
})
