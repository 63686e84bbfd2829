/** The benchmark of versions, at its smallest, so that it cannot rot. Its figures mean nothing. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import test from 'brittle'
import type { BenchRow } from '../bench/framework.ts'
import { need } from '../helpers/requirements.ts'

const run = promisify(execFile)
const bench = path.join(import.meta.dirname, '../bench/run.js')

test('bench: versions against block differencing', { timeout: 300_000 }, async (t) => {
  if (!need(t, 'qemu', 'qemu-tools', 'fuse', 'bubblewrap', 'apt-get', 'e2fsprogs')) return
  const { stdout } = await run(process.execPath, [bench, 'versions', '--json', '--small'])
  const { rows } = JSON.parse(stdout) as { rows: BenchRow[] }
  t.alike(
    rows.map((row) => row.name),
    ['versions-storage', 'versions-traffic']
  )
  for (const row of rows) t.ok(row.ours > 0 && row.peer > 0 && row.goal! > 0, row.name)
  // The copied file is no new data to us, and as much again to block differencing.
  const details = rows[0].details as Record<string, number>
  t.ok(details['new chunks, disk MB'] < 0.6 * details['peer, disk MB'])
})
