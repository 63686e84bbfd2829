/** One resume at the office, and what it costs: the row of the lab. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Device } from '../../examples/demo/device.ts'
import type { Timeline } from '../../examples/demo/timeline.ts'
import { SerialConsole } from '../../examples/guest/serial-console.ts'
import { formatBytes, formatDuration } from '../../lib/cli/ui/format.ts'
import type { ResumeResult, Result, SuspendResult } from '../../lib/daemon/api.ts'
import { PARCEL, type LabFleet } from './fleet.ts'
import type { LabOptions } from './options.ts'
import type { Policy } from './policies.ts'
import type { Shape } from './wan.ts'
import { work } from './workload.ts'

/** A console that does not answer for that long never will. */
const ANSWER_MS = 3 * 3600_000
/** What the user does at home before the version that is pushed. */
const USE_MS = 3000

export interface Sample {
  /** From the command: by the daemon's clock until the CPUs run, by ours until the console answers. */
  resume_ms: number
  interactive_ms: number
  /** Null without a workload. */
  workload_ms: number | null
  steps: Record<string, number>
  /** From all peers, all that is sent to bring the blocks too. */
  bytes_fetched: number
  bytes_interactive: number
  /** Reads that waited for peers, and for how long any did; until the console answered, and in all. */
  faults_interactive: number
  stalled_interactive_ms: number
  faults: number
  stalled_ms: number
  /** Device state and what was touched up to the answer, as stored; null without a pack. */
  answer_bytes: number | null
  /** From `suspend` at home until the office had all of the new version. */
  travel_ms: number | null
  /** Megabits a second at which all of it came before, and those of TCP just before that. */
  bulk: { mbps: number; tcp_mbps: number } | null
  trace: Record<string, number>
}

/** Rates at which fetching all of it takes no longer than a minute or so. */
const BULK_MBPS_MIN = 50

/** A resume at home, where everything is: what the others are compared with. */
export async function measureHome(
  fleet: LabFleet,
  options: LabOptions,
  timeline: Timeline
): Promise<Sample> {
  const sample = await resumeAndWork(fleet.home, [], options)
  await fleet.home.run('discard', PARCEL, '--yes')
  tell(timeline, 'home', 'local', sample)
  return sample
}

/** In a new home at the office, which is removed afterwards. */
export async function measureRow(
  fleet: LabFleet,
  policy: Policy,
  shape: Shape,
  options: LabOptions,
  timeline: Timeline
): Promise<Sample> {
  await fleet.link('fast')
  const office = await fleet.newOffice()
  const { travelMs, bulk } = await prepare(fleet, office, policy, shape)
  const flags = policy.before === 'all' ? ['--offline'] : ['--fetch', policy.fetch]
  const sample = await resumeAndWork(office, flags, options)
  sample.travel_ms = travelMs
  sample.bulk = bulk
  tell(timeline, 'office', `${policy.name} at ${shape.mbps ?? 'any'} Mb/s`, sample)
  await fleet.link('fast')
  await fleet.connected(office)
  await office.run('discard', PARCEL, '--yes')
  await office.run('suspend', PARCEL, '--to', 'home')
  await fleet.removeOffice(office)
  return sample
}

async function prepare(
  fleet: LabFleet,
  office: Device,
  { before }: Policy,
  shape: Shape
): Promise<{ travelMs: number | null; bulk: Sample['bulk'] }> {
  const push = () => fleet.home.run<SuspendResult>('suspend', PARCEL, ...to(office))
  let travelMs: number | null = null
  let bulk: Sample['bulk'] = null
  if (before === 'stick') await fleet.stick(office)
  if (before === 'all') bulk = await hoard(fleet, office, shape)
  if (before === 'pushed' || before === 'all') await push()
  if (before === 'pushed') {
    const { result } = await fleet.home.run<ResumeResult>('resume', PARCEL)
    const console = new SerialConsole(result.serial)
    await console.ready(ANSWER_MS)
    await sleep(USE_MS)
    console.close()
    await fleet.linkAnew(office, shape)
    travelMs = Math.round((await push()).wallMs)
  }
  if (before === 'all') await fleet.link(null)
  else if (before !== 'pushed') await fleet.linkAnew(office, shape)
  return { travelMs, bulk }
}

async function hoard(fleet: LabFleet, office: Device, shape: Shape): Promise<Sample['bulk']> {
  const fetch = () => office.run<Result<'hoard'>>('hoard', PARCEL)
  if (shape.mbps === null || shape.mbps < BULK_MBPS_MIN) {
    await fetch()
    return null
  }
  await fleet.linkAnew(office, shape)
  const tcp = await fleet.tcpRate()
  const { result, wallMs } = await fetch()
  await fleet.link('fast')
  const mbps = (result.bytes_fetched * 8) / 1000 / wallMs
  return { mbps: Math.round(mbps * 10) / 10, tcp_mbps: Math.round(tcp * 10) / 10 }
}

function to(office: Device): string[] {
  return ['--to', office.name, '--wait-replicas', '1']
}

async function resumeAndWork(
  device: Device,
  flags: string[],
  options: LabOptions
): Promise<Sample> {
  const before = await counters(device)
  const { result, beganMs } = await device.run<ResumeResult>('resume', PARCEL, ...flags)
  const console = new SerialConsole(result.serial)
  try {
    await console.ready(ANSWER_MS)
    const interactiveMs = Math.round(performance.now() - beganMs)
    const answered = await counters(device)
    const worked = options.workload ? await work(console, options.small) : null
    const after = await counters(device)
    return {
      resume_ms: result.resume_ms,
      interactive_ms: interactiveMs,
      workload_ms: worked?.workload_ms ?? null,
      steps: worked?.steps ?? {},
      bytes_interactive: answered.bytes - before.bytes,
      bytes_fetched: after.bytes - before.bytes,
      faults_interactive: answered.faults,
      stalled_interactive_ms: answered.stalledMs,
      faults: after.faults,
      stalled_ms: after.stalledMs,
      answer_bytes: answered.answerBytes,
      travel_ms: null,
      bulk: null,
      trace: result.trace
    }
  } finally {
    console.close()
  }
}

interface Counters {
  bytes: number
  faults: number
  stalledMs: number
  answerBytes: number | null
}

async function counters(device: Device): Promise<Counters> {
  const { running } = (await device.run<Result<'stats'>>('stats')).result
  const { bytes_received: bytes } = await device.status() // from all peers, those that are gone too
  const run = running.find(({ parcel }) => parcel === PARCEL)
  const { faults = 0, stalled_ms: stalledMs = 0, answer_bytes: answerBytes = null } = run ?? {}
  return { bytes, faults, stalledMs, answerBytes }
}

function tell(timeline: Timeline, place: string, what: string, sample: Sample): void {
  const worked =
    sample.workload_ms === null ? '' : `, works for ${formatDuration(sample.workload_ms)}`
  const travelled =
    sample.travel_ms === null ? '' : `, travelled for ${formatDuration(sample.travel_ms)}`
  timeline.say(
    place,
    `${what}: runs after ${formatDuration(sample.resume_ms)}, answers after ${formatDuration(sample.interactive_ms)}${worked}${travelled}; ${formatBytes(sample.bytes_fetched)} in ${sample.faults} faults that waited ${formatDuration(sample.stalled_ms)}`
  )
}
