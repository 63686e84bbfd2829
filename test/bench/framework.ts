/**
 * A benchmark compares us with a peer in one run, on one machine, interleaved, so that a noisy machine disturbs
 * both alike. Each suite is a file beside this one that exports `run: BenchSuite`.
 */
export interface BenchRow {
  name: string
  ours: number
  peer: number
  peer_name: string
  unit: string
  /** Greater than 1 means that we are better. */
  ratio: number
}

export interface BenchOptions {
  /** A few hundred milliseconds in all, for the test that keeps the suite alive. */
  quick: boolean
  /** The size that the published figures are about, minutes. */
  large: boolean
  /** Tells a person what is going on. */
  log(line: string): void
}

export type BenchSuite = (opts: BenchOptions) => Promise<BenchRow[]>

export interface Comparison {
  name: string
  unit: string
  peerName: string
  better: 'higher' | 'lower'
  ours(): Promise<number>
  peer(): Promise<number>
}

/** Measures both `rounds` times in turn and compares the medians. */
export async function compare(comparison: Comparison, rounds: number): Promise<BenchRow> {
  const { name, unit, peerName, better } = comparison
  const ours: number[] = []
  const peers: number[] = []
  for (let i = 0; i < rounds; i++) {
    peers.push(await comparison.peer())
    ours.push(await comparison.ours())
  }
  return makeRow({ name, unit, peerName, better, ours: median(ours), peer: median(peers) })
}

export function makeRow(figures: {
  name: string
  unit: string
  peerName: string
  better: 'higher' | 'lower'
  ours: number
  peer: number
}): BenchRow {
  const { name, unit, peerName, better, ours, peer } = figures
  const ratio = better === 'higher' ? ours / peer : peer / ours
  return {
    name,
    ours: round(ours),
    peer: round(peer),
    peer_name: peerName,
    unit,
    ratio: round(ratio)
  }
}

export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Four significant digits at most: more would be noise. */
function round(value: number): number {
  return Math.abs(value) >= 1000 ? Math.round(value) : Number(value.toPrecision(4))
}

export function renderRows(rows: BenchRow[]): string {
  const cells = rows.map((row) => [
    row.name,
    `${row.peer_name} ${row.peer} ${row.unit}`,
    `ours ${row.ours} ${row.unit}`,
    `${row.ratio.toFixed(2)}x`
  ])
  const widths = cells.reduce<number[]>(
    (max, row) => row.map((cell, i) => Math.max(max[i] ?? 0, cell.length)),
    []
  )
  return cells.map((row) => row.map((cell, i) => cell.padEnd(widths[i])).join('   ')).join('\n')
}
