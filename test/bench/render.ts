/** Rows for people: one line each, and what explains them below. */
import { formatTable } from '../../lib/cli/ui/format.ts'
import type { BenchRow, Spread } from './framework.ts'

const HEAD = ['row', 'peer', '', 'ours', 'ratio', 'goal', '', 'spread (peer, ours)']
const CPU = 'CPU s/GB (peer, ours)'

export function renderRows(rows: BenchRow[]): string {
  const table = formatTable(
    [...HEAD, CPU],
    rows.map((row) => [
      row.name,
      row.peer_name,
      `${row.peer} ${row.unit}`,
      `${row.ours} ${row.unit}`,
      `${row.ratio.toFixed(2)}x`,
      row.goal === undefined ? '-' : `${row.goal}x`,
      row.goal === undefined ? '' : row.ratio >= row.goal ? 'met' : 'missed',
      `${spread(row.peer_spread)}, ${spread(row.ours_spread)}`,
      `${row.peer_cpu_s_per_gb ?? '-'}, ${row.ours_cpu_s_per_gb ?? '-'}`
    ])
  )
  const notes = rows.flatMap(({ name, details = {} }) =>
    Object.keys(details).length === 0 ? [] : [`  ${name}: ${renderDetails(details)}`]
  )
  return [table, ...notes].join('\n')
}

function renderDetails(details: NonNullable<BenchRow['details']>): string {
  return Object.entries(details)
    .map(([name, value]) => `${name} ${value}`)
    .join(' · ')
}

function spread(range: Spread | undefined): string {
  return range === undefined ? '-' : `${range[0]}…${range[1]}`
}
