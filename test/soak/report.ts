/** What came of the soak: a table for people, an object for programs. */
import { formatBytes, formatTable } from '../../lib/cli/ui/format.ts'
import { median } from '../bench/framework.ts'
import { growth, type Growth, type Limits } from './growth.ts'
import type { SoakOptions } from './options.ts'
import type { Journey } from './soak.ts'
import type { ProcessVitals } from './vitals.ts'

export interface Round {
  round: number
  from: string
  to: string
  /** That the suspend made. */
  version: number
  suspend_ms: number
  pause_ms: number
  bytes_new: number
  bytes_stored: number
  resume_ms: number
  /** From the command to the first answer on the console. */
  interactive_ms: number
  clock_off_seconds: number
  /** When the round was over, since the guest booted. */
  tick: number
  builds: number
  pieces: number
  /** While the VM was suspended. */
  processes: number
  /** Before it was. */
  runner_rss_bytes: number
  runner_peak_bytes: number
  runner_descriptors: number
  runner_store_files: number
  daemons: Record<string, ProcessVitals>
  home_bytes: Record<string, number>
}

export interface Report {
  ok: boolean
  problems: string[]
  guest: string
  memory: string
  cpus: number
  /** Builds of the guest, and files in all of them; how many builds differed from the first. */
  builds: number
  pieces: number
  wrong: number
  verified_blocks: Record<string, number>
  /** Medians. */
  suspend_ms: number
  resume_ms: number
  interactive_ms: number
  bytes_new: number
  growth: Growth[]
  /** Lines of the logs that are errors. */
  logged: string[]
  seconds: number
  rounds: Round[]
}

const MEMORY: Limits = { share: 0.2, least: 30e6 }
const DESCRIPTORS: Limits = { share: 0.2, least: 10 }
/** What homes may hold beyond what was stored in versions: the database's own, and its files on their way out. */
const HOME_SHARE = 0.5
const HOME_BYTES = 256e6
const STORE_FILES_MAX = 256

export function makeReport(journey: Journey, options: SoakOptions, seconds: number): Report {
  const { rounds, look, verified, logged } = journey
  const grown = growths(rounds)
  const problems = [
    ...journey.problems,
    ...grown.filter(({ grew }) => grew).map((g) => `${g.name} grew: ${g.early} to ${g.late}`),
    ...oversized(journey),
    ...hoarded(rounds)
  ]
  const middle = (of: (round: Round) => number) => Math.round(median(rounds.map(of)))
  return {
    ok: problems.length === 0,
    problems,
    guest: options.guest,
    memory: options.memory,
    cpus: options.cpus,
    builds: look.builds,
    pieces: look.pieces,
    wrong: look.wrong,
    verified_blocks: verified,
    suspend_ms: middle((round) => round.suspend_ms),
    resume_ms: middle((round) => round.resume_ms),
    interactive_ms: middle((round) => round.interactive_ms),
    bytes_new: middle((round) => round.bytes_new),
    growth: grown,
    logged,
    seconds: Math.round(seconds),
    rounds
  }
}

function growths(rounds: Round[]): Growth[] {
  const found: (Growth | null)[] = []
  for (const name of Object.keys(rounds[0].daemons)) {
    const memory = rounds.map(({ daemons }) => daemons[name].rssBytes)
    const descriptors = rounds.map(({ daemons }) => daemons[name].descriptors)
    found.push(growth(`memory of the daemon at ${name}`, 'bytes', memory, MEMORY))
    found.push(growth(`descriptors of the daemon at ${name}`, '', descriptors, DESCRIPTORS))
  }
  const memory = rounds.map((round) => round.runner_peak_bytes)
  const descriptors = rounds.map((round) => round.runner_descriptors)
  found.push(growth('memory of the runner, at most', 'bytes', memory, MEMORY))
  found.push(growth('descriptors of the runner', '', descriptors, DESCRIPTORS))
  return found.filter((each) => each !== null)
}

/** Homes grow by their versions: nothing is pruned here. More than that would be waste that nobody gives back. */
function oversized({ rounds, first, last }: Journey): string[] {
  const stored = rounds.reduce((sum, round) => sum + round.bytes_stored, 0)
  const start = Math.max(...Object.values(first.homeBytes))
  const most = (start + stored) * (1 + HOME_SHARE) + HOME_BYTES
  return Object.entries(last.homeBytes)
    .filter(([, bytes]) => bytes > most)
    .map(([name, bytes]) => `${name} takes ${formatBytes(bytes)}, with ${formatBytes(stored)} new`)
}

/** The database of a daemon may keep so many files open, however many there are. */
function hoarded(rounds: Round[]): string[] {
  return Object.entries(rounds[rounds.length - 1].daemons)
    .filter(([, { storeFiles }]) => storeFiles > STORE_FILES_MAX)
    .map(([name, { storeFiles }]) => `${name} has ${storeFiles} files of its store open`)
}

export function renderReport(report: Report): string {
  const names = Object.keys(report.rounds[0].daemons)
  const head = [
    ...['', 'to', 'suspend ms', 'resume ms', 'console ms', 'new MB', 'builds', 'files'],
    ...['runner MB', ...names.map((name) => `${name} MB`)],
    ...names.map((name) => `${name} fds`),
    ...names.map((name) => `${name} store files`),
    ...names.map((name) => `${name} disk MB`),
    'processes'
  ]
  const table = formatTable(
    head,
    report.rounds.map((r) => [
      ...[r.round, r.to, r.suspend_ms, r.resume_ms, r.interactive_ms, megabytes(r.bytes_new)],
      ...[r.builds, r.pieces, megabytes(r.runner_peak_bytes)],
      ...names.map((name) => megabytes(r.daemons[name].rssBytes)),
      ...names.map((name) => r.daemons[name].descriptors),
      ...names.map((name) => r.daemons[name].storeFiles),
      ...names.map((name) => megabytes(r.home_bytes[name])),
      r.processes
    ])
  )
  const grown = report.growth.map(({ name, unit, early, late, grew }) => {
    const text = (value: number) => (unit === 'bytes' ? formatBytes(value) : String(value))
    return `${name}: ${text(early)} in rounds 3 to 7, ${text(late)} in the last 5${grew ? ': IT GREW' : ''}`
  })
  return [
    table,
    '',
    ...grown,
    `${report.builds} builds with ${report.pieces} files, ${report.wrong} of them wrong`
  ].join('\n')
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1e6)
}
