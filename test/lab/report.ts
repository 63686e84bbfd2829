/** What the lab measured: two tables for people, an object for programs. */
import { formatBytes, formatDuration, formatTable } from '../../lib/cli/ui/format.ts'
import { median } from '../bench/framework.ts'
import { checksOf, type Check } from './checks.ts'
import type { Sample } from './measure.ts'
import { publishedResume, publishedSlowdown, publishedWorkload } from './published.ts'

/** Medians of all rounds. */
export interface LabRow {
  policy: string
  mbps: number
  rtt_ms: number
  resume_ms: number
  interactive_ms: number
  workload_ms: number | null
  /** Of the workload against the local run: 0.1 is 10 % longer. */
  slowdown: number | null
  bytes_fetched: number
  published_resume_s: number | null
  /** With the resume. */
  published_workload_s: number | null
  bytes_interactive: number
  faults_interactive: number
  stalled_interactive_ms: number
  faults: number
  stalled_ms: number
  answer_bytes: number | null
  travel_ms: number | null
  /** Megabits a second: all of the version fetched before, and TCP just before that. */
  bulk_mbps: number | null
  tcp_mbps: number | null
  rounds: Sample[]
}

export interface LeftOut {
  policy: string
  why: string
}

export interface Machine {
  cpus: number
  cpu: string
  memory_bytes: number
  kernel: string
  /** Of one minute, before and after. */
  load: [number, number]
}

export interface LabReport {
  guest: string
  memory: string
  machine: Machine
  /** At home, where everything is; null without a workload. */
  local: Sample[]
  rows: LabRow[]
  checks: Check[]
  left_out: LeftOut[]
  seconds: number
}

export interface Measured {
  policy: string
  mbps: number
  rttMs: number
  samples: Sample[]
}

export function makeReport(
  parts: Omit<LabReport, 'rows' | 'checks'>,
  measured: Measured[]
): LabReport {
  const rows = measured.map((one) => rowOf(one, parts.local))
  return { ...parts, rows, checks: checksOf(rows) }
}

function rowOf({ policy, mbps, rttMs, samples }: Measured, local: Sample[]): LabRow {
  const middle = (of: (sample: Sample) => number) => Math.round(median(samples.map(of)))
  const worked = samples.every((sample) => sample.workload_ms !== null)
  const workloadMs = worked ? middle((sample) => sample.workload_ms!) : null
  const localMs = local.length === 0 ? null : median(local.map(({ workload_ms }) => workload_ms!))
  const bulks = samples.flatMap(({ bulk }) => (bulk === null ? [] : [bulk]))
  const packed = samples.every(({ answer_bytes }) => answer_bytes !== null)
  const travelled = samples.every(({ travel_ms }) => travel_ms !== null)
  return {
    policy,
    mbps,
    rtt_ms: rttMs,
    resume_ms: middle((sample) => sample.resume_ms),
    interactive_ms: middle((sample) => sample.interactive_ms),
    workload_ms: workloadMs,
    slowdown: workloadMs === null || localMs === null ? null : round(workloadMs / localMs - 1),
    bytes_fetched: middle((sample) => sample.bytes_fetched),
    published_resume_s: publishedResume(policy, mbps),
    published_workload_s: publishedWorkload(policy, mbps),
    bytes_interactive: middle((sample) => sample.bytes_interactive),
    faults_interactive: middle((sample) => sample.faults_interactive),
    stalled_interactive_ms: middle((sample) => sample.stalled_interactive_ms),
    faults: middle((sample) => sample.faults),
    stalled_ms: middle((sample) => sample.stalled_ms),
    answer_bytes: packed ? middle((sample) => sample.answer_bytes!) : null,
    bulk_mbps: bulks.length === 0 ? null : median(bulks.map(({ mbps }) => mbps)),
    tcp_mbps: bulks.length === 0 ? null : median(bulks.map(({ tcp_mbps }) => tcp_mbps)),
    travel_ms: travelled ? middle((sample) => sample.travel_ms!) : null,
    rounds: samples
  }
}

export function renderReport(report: LabReport): string {
  const { rows, checks, left_out, local, machine } = report
  const lines = [
    `${report.guest}, ${report.memory} of RAM; ${machine.cpus} CPUs (${machine.cpu}), load ${machine.load.join(' to ')}`,
    '',
    'Resume latency',
    resumeTable(rows)
  ]
  if (local.length > 0) {
    const localMs = median(local.map(({ workload_ms }) => workload_ms!))
    lines.push('', `Workload after the resume; locally ${formatDuration(localMs)}`, workTable(rows))
  }
  if (checks.length > 0) lines.push('', 'Checks (ratio above 1 is better)', checkTable(checks))
  for (const { policy, why } of left_out) lines.push('', `Left out: ${policy}: ${why}`)
  return lines.join('\n')
}

function resumeTable(rows: LabRow[]): string {
  const head = [
    ...['POLICY', 'LINK', 'ROUND TRIP', 'CPUS RUN', 'ANSWERS', 'ISR-2, CPUS RUN'],
    ...['BYTES', 'FAULTS', 'STALLED', 'TRAVELLED']
  ]
  return formatTable(
    head,
    rows.map((row) => [
      ...[row.policy, `${row.mbps} Mb/s`, `${row.rtt_ms} ms`, formatDuration(row.resume_ms)],
      ...[formatDuration(row.interactive_ms), seconds(row.published_resume_s)],
      ...[formatBytes(row.bytes_interactive), row.faults_interactive],
      formatDuration(row.stalled_interactive_ms),
      row.travel_ms === null ? '' : formatDuration(row.travel_ms)
    ])
  )
}

function workTable(rows: LabRow[]): string {
  const head = [
    ...['POLICY', 'LINK', 'RESUME + WORKLOAD', 'ISR-2', 'SLOWDOWN', 'ISR-2'],
    ...['BYTES', 'FAULTS', 'STALLED']
  ]
  return formatTable(
    head,
    rows.map((row) => [
      ...[row.policy, `${row.mbps} Mb/s`],
      row.workload_ms === null ? '' : formatDuration(row.interactive_ms + row.workload_ms),
      seconds(row.published_workload_s),
      percent(row.slowdown),
      percent(publishedSlowdown(row.policy, row.mbps)),
      ...[formatBytes(row.bytes_fetched), row.faults, formatDuration(row.stalled_ms)]
    ])
  )
}

function checkTable(checks: Check[]): string {
  const rows = checks.map(({ name, ours, peer, peer_name, unit, ratio, goal }) => [
    ...[
      name,
      `${ours} ${unit}`,
      `${peer} ${unit}`,
      peer_name,
      ratio,
      goal,
      ratio >= goal ? 'met' : 'open'
    ]
  ])
  return formatTable(['CHECK', 'OURS', 'PEER', '', 'RATIO', 'GOAL', ''], rows)
}

function seconds(value: number | null): string {
  return value === null ? '' : `${value} s`
}

function percent(share: number | null): string {
  return share === null ? '' : `${Math.round(share * 100)} %`
}

function round(value: number): number {
  return Number(value.toFixed(3))
}
