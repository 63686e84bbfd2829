/** The soak itself: one VM that works, carried back and forth. */
import { execFile } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import type { Device } from '../../examples/demo/device.ts'
import { meet } from '../../examples/demo/meet.ts'
import type { Timeline } from '../../examples/demo/timeline.ts'
import { buildGuest } from '../../examples/guest/build.ts'
import { buildDebianGuest } from '../../examples/guest/debian.ts'
import { SerialConsole } from '../../examples/guest/serial-console.ts'
import { formatBytes, formatDuration } from '../../lib/cli/ui/format.ts'
import type { ResumeResult, Result, SuspendResult } from '../../lib/daemon/api.ts'
import { GuestWork, losses, type GuestLook } from './guest-work.ts'
import type { SoakOptions } from './options.ts'
import type { Round } from './report.ts'
import { countProcesses, restVitals, runnerVitals, type RestVitals } from './vitals.ts'

const PARCEL = 'soak'
const BOOT_MS = 600_000
const ANSWER_MS = 180_000
/** For processes to end that have nothing more to do. */
const SETTLE_MS = 20_000
const POLL_MS = 100
/** Of pino. */
const LOG_LEVEL_ERROR = 50

export interface Stage {
  /** Holds both homes. */
  directory: string
  guestDirectory: string
  options: SoakOptions
  home: Device
  office: Device
  timeline: Timeline
  signal: AbortSignal
}

export interface Journey {
  rounds: Round[]
  /** Before the first run and after the last. */
  first: RestVitals
  last: RestVitals
  look: GuestLook
  /** Blocks that `verify` checked, by device. */
  verified: Record<string, number>
  /** Lines of the logs that are errors. */
  logged: string[]
  problems: string[]
}

export async function travel(stage: Stage): Promise<Journey> {
  const { options, home, office, timeline, signal } = stage
  const problems: string[] = []
  const notice = (place: string, found: string[]) => {
    for (const problem of found) {
      problems.push(`${place}: ${problem}`)
      timeline.say('', `PROBLEM: ${problem}`)
    }
  }

  timeline.part('Two devices and a VM')
  const builder = options.guest === 'debian' ? buildDebianGuest : buildGuest
  const guest = await builder(stage.guestDirectory, (text) => timeline.say('', text))
  timeline.say('', `the guest is ready: ${options.guest}`)
  await meet(stage)
  // A rehearsal after a suspend is no leftover, and would look like one.
  for (const device of [home, office]) await device.run('config', 'rehearsal', 'false')
  const created = await home.run<Result<'create'>>(
    ...['create', PARCEL, '--disk', guest.disk, '--memory', options.memory],
    ...['--cpus', String(options.cpus)],
    ...['--kernel', guest.kernel, '--initrd', guest.initrd, '--append', guest.append]
  )
  const { bytes_read, bytes_stored } = created.result
  timeline.say(
    'home',
    `create ${PARCEL}: ${formatBytes(bytes_read)} read, ${formatBytes(bytes_stored)} stored`
  )
  const first = await restVitals(stage.directory, [home, office])

  const booted = await home.run<ResumeResult>('resume', PARCEL)
  let work = new GuestWork(new SerialConsole(booted.result.serial))
  await work.answers(BOOT_MS)
  timeline.say(
    'home',
    `it boots and answers after ${formatDuration(performance.now() - booted.beganMs)}`
  )
  await work.begin(options.size)
  let look = await work.look()
  timeline.say('guest', `works: its first build is done (${options.size.work})`)

  const rounds: Round[] = []
  let [here, there] = [home, office]
  for (let number = 1; number <= options.rounds; number++) {
    signal.throwIfAborted()
    timeline.part(`Round ${number}: ${here.name} to ${there.name}`)
    const runner = await runnerVitals(here)
    if (runner === null) notice(`round ${number}`, ['the VM has no runner'])
    const before = await work.look()
    work.close()
    const left = await here.run<SuspendResult>('suspend', PARCEL, '--to', there.name)
    const { suspend_ms, bytes_new } = left.result
    timeline.say(
      here.name,
      `suspend: durable after ${formatDuration(suspend_ms)}, ${formatBytes(bytes_new)} new`
    )
    await settle(stage.directory, first.processes)
    const rest = await restVitals(stage.directory, [home, office])
    notice(`round ${number}, at rest`, unrest(first, rest))
    const came = await there.run<ResumeResult>('resume', PARCEL)
    work = new GuestWork(new SerialConsole(came.result.serial))
    await work.answers(ANSWER_MS)
    const interactiveMs = performance.now() - came.beganMs
    timeline.say(
      there.name,
      `resume: runs after ${formatDuration(came.result.resume_ms)}, answers after ${formatDuration(interactiveMs)}`
    )
    const after = await work.look(before.tick)
    notice(`round ${number}`, losses(before, after))
    if (came.result.booted) notice(`round ${number}`, ['resume says that it booted'])
    timeline.say('guest', 'was looked at: RAM, disk, counter, kernel log')
    await pause(options.workMs, signal)
    look = await work.look()
    notice(`round ${number}, at work`, losses(after, look))
    const round: Round = {
      round: number,
      from: here.name,
      to: there.name,
      version: left.result.version,
      suspend_ms: left.result.suspend_ms,
      pause_ms: left.result.pause_ms,
      bytes_new: left.result.bytes_new,
      bytes_stored: left.result.bytes_stored,
      resume_ms: came.result.resume_ms,
      interactive_ms: Math.round(interactiveMs),
      clock_off_seconds: Math.round(look.clockOffSeconds),
      tick: look.tick,
      builds: look.builds,
      pieces: look.pieces,
      processes: rest.processes,
      runner_rss_bytes: runner?.rssBytes ?? 0,
      runner_peak_bytes: runner?.peakBytes ?? 0,
      runner_descriptors: runner?.descriptors ?? 0,
      runner_store_files: runner?.storeFiles ?? 0,
      daemons: rest.daemons,
      home_bytes: rest.homeBytes
    }
    rounds.push(round)
    timeline.say(
      'guest',
      `${look.builds} builds, ${look.pieces} files, all as the first; its counter is at ${look.tick}`
    )
    ;[here, there] = [there, here]
  }
  work.close()

  timeline.part('In the end')
  await here.run('poweroff', PARCEL)
  await settle(stage.directory, first.processes)
  timeline.say(here.name, 'poweroff: a version without memory')
  notice('the disk', await checkDisk(stage.directory, here))
  timeline.say(here.name, 'its disk, exported, was checked by e2fsck')
  const verified: Record<string, number> = {}
  for (const device of [home, office]) {
    const { checked, bad } = (await device.run<Result<'verify'>>('verify', PARCEL)).result
    if (bad > 0) notice(device.name, [`verify finds ${bad} bad blocks`])
    verified[device.name] = checked
    timeline.say(device.name, `verify ${PARCEL}: ${checked} blocks are good, ${bad} are bad`)
  }
  const { versions } = (await home.run<Result<'log'>>('log', PARCEL)).result
  if (versions.length < options.rounds + 1)
    notice('log', [`only ${versions.length} versions are there`])
  const last = await restVitals(stage.directory, [home, office])
  notice('in the end', unrest(first, last))
  const logged = [...(await errorsOf(home)), ...(await errorsOf(office))]
  for (const line of logged) timeline.say('', `logged: ${line}`)
  for (const device of [home, office]) await device.run('daemon', 'stop')
  return { rounds, first, last, look, verified, logged, problems }
}

/** What a VM that is suspended still holds. */
function unrest(first: RestVitals, now: RestVitals): string[] {
  const found: string[] = []
  if (now.processes > first.processes) {
    found.push(`${now.processes} processes instead of ${first.processes}`)
  }
  found.push(...now.mounts.map((mount) => `${mount} is still mounted`))
  const left = now.leftovers.filter((file) => !first.leftovers.includes(file))
  found.push(...left.map((file) => `${file} is left`))
  return found
}

async function settle(directory: string, processes: number): Promise<void> {
  const end = performance.now() + SETTLE_MS
  while ((await countProcesses(directory)) > processes && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

async function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  const end = performance.now() + durationMs
  while (performance.now() < end) {
    signal.throwIfAborted()
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

/** The guest was turned off in order: its file system must need no repair at all. */
async function checkDisk(directory: string, device: Device): Promise<string[]> {
  const file = path.join(directory, 'disk0.img')
  await device.run('export', PARCEL, file, '--volume', 'disk0')
  const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` }
  try {
    await promisify(execFile)('e2fsck', ['-f', '-n', file], { env })
    return []
  } catch (err) {
    const { stdout, stderr } = err as { stdout?: string; stderr?: string }
    return [`e2fsck: ${stdout ?? ''}${stderr ?? ''}${(err as Error).message}`]
  } finally {
    await rm(file, { force: true })
  }
}

async function errorsOf(device: Device): Promise<string[]> {
  const text = await readFile(path.join(device.home, 'daemon.log'), 'utf8').catch(() => '')
  return text
    .split('\n')
    .filter((line) => Number(/"level":(\d+)/.exec(line)?.[1] ?? 0) >= LOG_LEVEL_ERROR)
    .map((line) => `${device.name}: ${line}`)
}
