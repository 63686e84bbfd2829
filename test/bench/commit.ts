/** Import, cold reads, suspend, memory and clones, against what a user would pick instead. */
import type { BenchOptions, BenchRow } from './framework.ts'
import { bigRows } from './commit/big.ts'
import { busyRow } from './commit/busy.ts'
import { coldReadRow } from './commit/coldread.ts'
import { idleSuspendRow } from './commit/idle-suspend.ts'
import { importRows } from './commit/import.ts'
import { measureParts, type BenchPart } from './parts/workspace.ts'

const PARTS: BenchPart[] = [
  { rows: ['import-time', 'import-size'], measure: importRows },
  { rows: ['coldread'], measure: coldReadRow },
  { rows: ['idle-suspend'], measure: idleSuspendRow },
  { rows: ['coldread-p99-busy'], measure: busyRow },
  { rows: ['memory', 'clone-8g'], measure: bigRows }
]

export function run(opts: BenchOptions): Promise<BenchRow[]> {
  return measureParts(opts, PARTS)
}
