/**
 * A benchmark compares us with peers in one run, on one machine, interleaved, so that a noisy machine disturbs
 * all alike. Each suite is a file beside this one that exports `run: BenchSuite`.
 */
export interface BenchRow {
  name: string
  /** Medians of all rounds. */
  ours: number
  peer: number
  peer_name: string
  unit: string
  /** Greater than 1 means that we are better. */
  ratio: number
  /** What `ratio` should reach. */
  goal?: number
  /** Smallest and largest of all rounds. */
  ours_spread?: Spread
  peer_spread?: Spread
  /** Of all processes that do the work, for each 10^9 bytes of data. */
  ours_cpu_s_per_gb?: number
  peer_cpu_s_per_gb?: number
  rounds?: number
  /** Figures that explain the row, by name; bytes, seconds and ratios as the names say. */
  details?: Record<string, number | string>
}

export type Spread = [number, number]

export interface BenchOptions {
  /** What the tests run: the smallest that works. */
  small: boolean
  /** The size that the published figures are about, minutes. */
  large: boolean
  /** Overrides how often each side is measured. */
  rounds?: number
  /** Is the row asked for? Suites whose rows cost minutes leave out the others. */
  wants(row: string): boolean
  /** Tells a person what is going on. */
  log(line: string): void
  /** Aborted by Ctrl-C. */
  signal: AbortSignal
}

export type BenchSuite = (opts: BenchOptions) => Promise<BenchRow[]>

export interface Sample {
  value: number
  cpuSeconds?: number
}

export interface Series {
  name: string
  samples: Sample[]
}

export interface RowPlan {
  name: string
  unit: string
  better: 'higher' | 'lower'
  goal?: number | undefined
  /** Bytes of data that each sample worked on, for the CPU figure. */
  dataBytes?: number
  details?: BenchRow['details'] | undefined
}

/** Measures each in turn, `rounds` times. */
export async function interleave(
  rounds: number,
  contenders: { name: string; measure(): Promise<Sample> }[]
): Promise<Series[]> {
  const all: Series[] = contenders.map(({ name }) => ({ name, samples: [] }))
  for (let round = 0; round < rounds; round++) {
    for (const [i, contender] of contenders.entries()) {
      all[i].samples.push(await contender.measure())
    }
  }
  return all
}

/** The row against the best of the peers; the others go into its details. */
export function rowOf(plan: RowPlan, ours: Series, peers: Series[]): BenchRow {
  const { name, unit, better, goal, dataBytes } = plan
  const sign = better === 'higher' ? -1 : 1
  const [peer, ...others] = peers.toSorted((a, b) => sign * (medianOf(a) - medianOf(b)))
  const base = { name, unit, peerName: peer.name, better }
  const details = { ...plan.details }
  for (const other of others) details[`${other.name} ${unit}`] = round(medianOf(other))
  return {
    ...makeRow({ ...base, ours: medianOf(ours), peer: medianOf(peer) }),
    ...(goal === undefined ? {} : { goal }),
    ours_spread: spreadOf(ours),
    peer_spread: spreadOf(peer),
    ...cpu('ours_cpu_s_per_gb', ours, dataBytes),
    ...cpu('peer_cpu_s_per_gb', peer, dataBytes),
    rounds: ours.samples.length,
    ...(Object.keys(details).length === 0 ? {} : { details })
  }
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

export function medianOf(series: Series): number {
  return median(series.samples.map(({ value }) => value))
}

/** A row against a fixed figure. */
export function fixed(name: string, value: number): Series {
  return { name, samples: [{ value }] }
}

/** Four significant digits at most: more would be noise. */
export function round(value: number): number {
  return Math.abs(value) >= 1000 ? Math.round(value) : Number(value.toPrecision(4))
}

function spreadOf({ samples }: Series): Spread {
  const values = samples.map(({ value }) => value)
  return [round(Math.min(...values)), round(Math.max(...values))]
}

function cpu(
  key: 'ours_cpu_s_per_gb' | 'peer_cpu_s_per_gb',
  { samples }: Series,
  dataBytes: number | undefined
): Partial<BenchRow> {
  const known = samples.flatMap(({ cpuSeconds }) => (cpuSeconds === undefined ? [] : [cpuSeconds]))
  if (known.length === 0 || dataBytes === undefined) return {}
  return { [key]: round(median(known) / (dataBytes / 1e9)) }
}
