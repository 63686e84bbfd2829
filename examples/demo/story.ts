/** The demo itself: a guest that lives at home, goes to the office, and comes back. */
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { formatBytes, formatDuration } from '../../lib/cli/ui/format.ts'
import type { DaemonStatus, ResumeResult, Result, SuspendResult } from '../../lib/daemon/api.ts'
import { SerialConsole } from '../guest/serial-console.ts'
import { buildGuest } from '../guest/build.ts'
import { Capture } from './capture.ts'
import type { Device, Ran } from './device.ts'
import type { Figures } from './figures.ts'
import { GuestShell, SECRET_MIB, type Look, type Sums } from './guest-shell.ts'
import { PlaintextSearch } from './plaintext.ts'
import { meet } from './meet.ts'
import type { Timeline } from './timeline.ts'

const PARCEL = 'demo'
const BOOT_MS = 180_000
const ANSWER_MS = 60_000

export interface Stage {
  /** Holds both homes. */
  directory: string
  guestDirectory: string
  memory: string
  home: Device
  office: Device
  timeline: Timeline
  signal: AbortSignal
}

interface Arrival {
  resumed: Ran<ResumeResult>
  interactiveMs: number
  shell: GuestShell
  /** Of the daemon: before the command, when the CPUs ran, at the first answer. */
  received: [DaemonStatus, DaemonStatus, DaemonStatus]
}

export async function tell(stage: Stage): Promise<Figures> {
  const { home, office, timeline } = stage
  const search = new PlaintextSearch(
    [home.home, office.home],
    path.join(stage.directory, 'scratch')
  )

  timeline.part('Two devices and a VM')
  const guest = await buildGuest(stage.guestDirectory)
  timeline.say('', 'a small Linux guest, built from Debian packages')
  await meet(stage)
  const created = await home.run<Result<'create'>>(
    ...['create', PARCEL, '--disk', guest.disk, '--memory', stage.memory],
    ...['--kernel', guest.kernel, '--initrd', guest.initrd, '--append', guest.append]
  )
  const { bytes_read, bytes_stored } = created.result
  timeline.say(
    'home',
    `create ${PARCEL}: ${formatBytes(bytes_read)} read, ${formatBytes(bytes_stored)} stored`
  )
  const { parcel } = (await home.run<Result<'show'>>('show', PARCEL)).result
  const { machine } = parcel

  timeline.part('At home')
  const booted = await home.run<ResumeResult>('resume', PARCEL)
  const first = new GuestShell(new SerialConsole(booted.result.serial))
  await first.answers(BOOT_MS)
  const bootMs = performance.now() - booted.beganMs
  timeline.say(
    'home',
    `it boots and answers on its console after ${formatDuration(bootMs)} (${machine.vmm}, ${machine.accel})`
  )
  await watchTraffic(stage, search)
  await first.plantSecrets()
  timeline.say(
    'guest',
    `writes ${SECRET_MIB} MiB of random data into its RAM only, and a file onto its disk`
  )
  await first.plantMarkers(search.markers)
  const samples = await first.samples()
  search.know(samples)
  const sumsBefore = await first.sums()
  timeline.say(
    'guest',
    `secret in RAM  ${short(sumsBefore.ramSecret)}   file on disk  ${short(sumsBefore.diskFile)}`
  )
  await search.proveFiles()
  await search.proveGuestMemory(home.home)
  await look(stage, search, 'while it runs at home')
  const before = await first.look()
  timeline.say('guest', `counter at ${before.tick}`)
  first.close()
  const suspended = await home.run<SuspendResult>('suspend', PARCEL, '--to', 'office')
  sayLeft(timeline, 'home', suspended)

  timeline.part('At the office')
  const there = await arrive(stage, office)
  const [start, running, answered] = there.received
  const after = await there.shell.look(before.tick)
  sayLook(timeline, before, after)
  const sumsAfter = await there.shell.sums()
  timeline.say(
    'guest',
    `secret in RAM  ${short(sumsAfter.ramSecret)}   file on disk  ${short(sumsAfter.diskFile)}`
  )
  await look(stage, search, 'while it runs at the office')
  const note = `written-at-the-office-${randomBytes(8).toString('hex')}`
  await there.shell.change(note)
  timeline.say('guest', 'writes a note, on its disk and into its RAM')
  const leaving = await there.shell.look()
  const { clock } = (await office.run<Result<'show'>>('show', PARCEL)).result.parcel
  timeline.say(
    'guest',
    `its clock is off by ${Math.round(leaving.clockOffSeconds)} s (set by: ${clock})`
  )
  there.shell.close()
  const back = await office.run<SuspendResult>('suspend', PARCEL, '--to', 'home')
  sayLeft(timeline, 'office', back)

  timeline.part('Back at home')
  const again = await arrive(stage, home)
  const returned = await again.shell.look(leaving.tick)
  sayLook(timeline, leaving, returned)
  const sumsBack = await again.shell.sums()
  const noted = await again.shell.hasChange(note)
  timeline.say(
    'guest',
    `secret in RAM  ${short(sumsBack.ramSecret)}   file on disk  ${short(sumsBack.diskFile)}`
  )
  timeline.say('guest', noted ? 'has the note from the office' : 'LACKS the note from the office')
  again.shell.close()
  await home.run('discard', PARCEL, '--yes')
  await look(stage, search, 'in the end')
  const plaintext = await search.finish()
  sayTraffic(timeline, plaintext)

  return {
    vmm: machine.vmm,
    accel: machine.accel,
    memory_bytes: machine.memory_bytes,
    disk_bytes: parcel.volumes.find(({ name }) => name === 'disk0')?.bytes ?? 0,
    boot_ms: Math.round(bootMs),
    home_suspend_ms: Math.round(suspended.wallMs),
    home_pause_ms: suspended.result.pause_ms,
    home_suspend_trace: suspended.result.trace,
    home_suspend_bytes_new: suspended.result.bytes_new,
    home_suspend_bytes_stored: suspended.result.bytes_stored,
    office_resume_ms: Math.round(there.resumed.wallMs),
    office_interactive_ms: Math.round(there.interactiveMs),
    office_resume_trace: there.resumed.result.trace,
    office_bytes_before_run: running.bytes_received - start.bytes_received,
    office_bytes_at_interactive: answered.bytes_received - start.bytes_received,
    office_demand_bytes_at_interactive:
      answered.demand_bytes_received - start.demand_bytes_received,
    office_clock: clock,
    office_clock_off_seconds: Math.round(leaving.clockOffSeconds),
    ram_secret_before: sumsBefore.ramSecret,
    ram_secret_after: sumsAfter.ramSecret,
    tick_before: before.tick,
    tick_after: after.tick,
    uptime_continues: continues(before, after) && !there.resumed.result.booted,
    disk_sha256_before: sumsBefore.diskFile,
    disk_sha256_after: sumsAfter.diskFile,
    back_suspend_ms: Math.round(back.wallMs),
    back_bytes_new: back.result.bytes_new,
    back_bytes_stored: back.result.bytes_stored,
    back_resume_ms: Math.round(again.resumed.wallMs),
    back_interactive_ms: Math.round(again.interactiveMs),
    back_ok: same(sumsBack, sumsBefore) && noted && continues(leaving, returned),
    plaintext_hits: plaintext.hits.length,
    searched_bytes: plaintext.bytes,
    searched_files: plaintext.files,
    capture: plaintext.capture,
    capture_problem: plaintext.captureProblem,
    capture_bytes: plaintext.captureBytes,
    control: plaintext.control,
    seconds: Math.round(timeline.seconds)
  }
}

/** resume, and the first sign of life of the guest. */
async function arrive({ timeline }: Stage, device: Device): Promise<Arrival> {
  const start = await device.status()
  const resumed = await device.run<ResumeResult>('resume', PARCEL)
  const running = await device.status()
  const bytes = formatBytes(running.bytes_received - start.bytes_received)
  const took = formatDuration(resumed.wallMs)
  timeline.say(
    device.name,
    `resume ${PARCEL}: its CPUs run after ${took}, ${bytes} fetched by then`
  )
  const shell = new GuestShell(new SerialConsole(resumed.result.serial))
  await shell.answers(ANSWER_MS)
  const interactiveMs = performance.now() - resumed.beganMs
  const answered = await device.status()
  const waited = formatBytes(answered.demand_bytes_received - start.demand_bytes_received)
  timeline.say(
    device.name,
    `its console answers after ${formatDuration(interactiveMs)}; it had to wait for ${waited}`
  )
  return { resumed, interactiveMs, shell, received: [start, running, answered] }
}

async function watchTraffic(stage: Stage, search: PlaintextSearch): Promise<void> {
  const pids = [(await stage.home.status()).pid, (await stage.office.status()).pid]
  try {
    search.watch(await Capture.start(path.join(stage.directory, 'traffic.pcap'), pids), null)
  } catch (err) {
    const problem = (err as Error).message
    search.watch(null, problem)
    stage.timeline.say('', `the traffic between the devices is NOT searched: ${problem}`)
  }
}

async function look(stage: Stage, search: PlaintextSearch, when: string): Promise<void> {
  const hits = await search.look()
  const what = hits === 0 ? 'nothing of the guest' : `${hits} PIECES OF THE GUEST`
  stage.timeline.say('', `${what} in the files of both homes (${when})`)
}

function sayLeft(timeline: Timeline, place: string, { result, wallMs }: Ran<SuspendResult>): void {
  const sizes = `${formatBytes(result.bytes_new)} new, ${formatBytes(result.bytes_stored)} stored`
  timeline.say(place, `suspend ${PARCEL}: durable after ${formatDuration(wallMs)}, ${sizes}`)
}

function sayLook(timeline: Timeline, before: Look, after: Look): void {
  const how = continues(before, after) ? 'no reboot' : 'REBOOTED'
  timeline.say('guest', `counter at ${after.tick}, ${how}`)
}

function sayTraffic(
  timeline: Timeline,
  result: Awaited<ReturnType<PlaintextSearch['finish']>>
): void {
  if (!result.capture) {
    timeline.say('', `the traffic does not count as searched: ${result.captureProblem}`)
    return
  }
  const hits = result.captureHits
  const what = hits === 0 ? 'nothing of the guest' : `${hits} PIECES OF THE GUEST`
  timeline.say('', `${what} in ${formatBytes(result.captureBytes)} of traffic between the devices`)
}

function continues(before: Look, after: Look): boolean {
  return (
    before.bootId === after.bootId &&
    after.uptimeSeconds > before.uptimeSeconds &&
    after.tick > before.tick
  )
}

function same(a: Sums, b: Sums): boolean {
  return a.ramSecret === b.ramSecret && a.diskFile === b.diskFile
}

function short(hash: string): string {
  return `${hash.slice(0, 12)}…`
}
