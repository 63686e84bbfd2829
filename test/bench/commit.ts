/** Import, cold reads, suspend, memory and clones, against what a user would pick instead. */
import type { BenchOptions, BenchRow } from './framework.ts'
import { importRows } from './commit/import.ts'
import { withWorkspace, type Workspace } from './parts/workspace.ts'

const PARTS: { rows: string[]; measure(workspace: Workspace): Promise<BenchRow[]> }[] = [
  { rows: ['import-time', 'import-size'], measure: importRows }
]

export async function run(opts: BenchOptions): Promise<BenchRow[]> {
  const rows: BenchRow[] = []
  for (const part of PARTS) {
    if (!part.rows.some(opts.wants)) continue
    const measured = await withWorkspace(opts, part.measure)
    rows.push(...measured.filter((row) => opts.wants(row.name)))
  }
  return rows
}
