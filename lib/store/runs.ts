/** Runs of block numbers: sorted, apart from each other by at least one. */
import type { BlockRun } from './ports.ts'

/** `runs` without the single blocks in `holes`, at most `max` runs. */
export function subtractRuns(runs: BlockRun[], holes: Set<number>, max: number): BlockRun[] {
  const sorted = [...holes].toSorted((a, b) => a - b)
  const out: BlockRun[] = []
  let at = 0
  for (const run of runs) {
    let start = run.start
    const end = run.start + run.count
    while (at < sorted.length && sorted[at] < start) at++
    for (; at < sorted.length && sorted[at] < end; at++) {
      if (sorted[at] > start) out.push({ start, count: sorted[at] - start })
      start = sorted[at] + 1
    }
    if (end > start) out.push({ start, count: end - start })
    if (out.length >= max) return out.slice(0, max)
  }
  return out
}
