/**
 * Is this machine able? Each part answers for itself; this file knows the home, the clock and the network,
 * and asks the VMM drivers for theirs. Needs no daemon and changes nothing.
 */
import { constants } from 'node:fs'
import { access, readFile, stat, statfs } from 'node:fs/promises'
import { createSocket } from 'node:dgram'
import path from 'node:path'
import type { Check } from '../base/check.ts'
import { formatBytes } from '../base/format-bytes.ts'
import { QemuDriver } from '../vmm/qemu/driver.ts'
import { examineQemu } from '../vmm/qemu/doctor.ts'

/** A part of the machine that can be asked. */
export type Examiner = () => Promise<Check[]>

const SPACE_BYTES_MIN = 2 * 1024 ** 3
const NODE_MIN = [20, 19] as const

/** Everything that this device needs, the VMM included. */
export function examineDevice(home: string): Promise<Check[]> {
  const driver = new QemuDriver({ cacheDirectory: null })
  return examine(home, [() => examineQemu(driver), tools])
}

/** Runs all examiners; one that throws becomes an `unknown` check, so that the others still answer. */
export async function examine(home: string, others: Examiner[] = []): Promise<Check[]> {
  const own: Examiner[] = [node, () => storage(home), clock, udp]
  const found = await Promise.all([...own, ...others].map(ask))
  return found.flat()
}

async function ask(examiner: Examiner): Promise<Check[]> {
  try {
    return await examiner()
  } catch (err) {
    return [{ name: examiner.name || 'check', state: 'unknown', found: (err as Error).message }]
  }
}

/** Programs that the runner starts. */
async function tools(): Promise<Check[]> {
  const wanted = {
    'qemu-img': 'qemu-utils',
    prlimit: 'util-linux',
    fallocate: 'util-linux',
    flock: 'util-linux'
  }
  const folders = (process.env['PATH'] ?? '').split(path.delimiter)
  const checks = Object.entries(wanted).map(async ([name, debian]): Promise<Check> => {
    for (const folder of folders) {
      const file = path.join(folder, name)
      const found = await access(file, constants.X_OK).then(
        () => true,
        () => false
      )
      if (found) return { name, state: 'ok', found: file }
    }
    const hint = `Install it: apt-get install ${debian}`
    return { name, state: 'missing', found: `${name} is not there`, hint }
  })
  return Promise.all(checks)
}

async function node(): Promise<Check[]> {
  const [major, minor] = process.versions.node.split('.').map(Number) as [number, number]
  const recent = major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1])
  const found = `Node.js ${process.versions.node}`
  if (recent) return [{ name: 'node', state: 'ok', found }]
  return [
    { name: 'node', state: 'missing', found, hint: `Install ${NODE_MIN.join('.')} or newer.` }
  ]
}

/** The home's directory, or the nearest one above that exists, is writable and has room. */
async function storage(home: string): Promise<Check[]> {
  const directory = await nearest(home)
  const checks: Check[] = []
  try {
    await access(directory, constants.W_OK | constants.X_OK)
    checks.push({ name: 'home', state: 'ok', found: `${home} can be written` })
  } catch {
    checks.push({
      name: 'home',
      state: 'missing',
      found: `${directory} cannot be written`,
      hint: 'Choose another directory with --home or HYPERPARCEL_HOME.'
    })
  }
  const { bavail, bsize } = await statfs(directory)
  const free = bavail * bsize
  const found = `${formatBytes(free)} free at ${directory}`
  if (free >= SPACE_BYTES_MIN) checks.push({ name: 'space', state: 'ok', found })
  else {
    const hint = 'A running VM needs room for all of its memory and what it writes.'
    checks.push({ name: 'space', state: 'slow', found, hint })
  }
  return checks
}

async function nearest(directory: string): Promise<string> {
  for (;;) {
    const found = await stat(directory).catch(() => null)
    if (found?.isDirectory() || path.dirname(directory) === directory) return directory
    directory = path.dirname(directory)
  }
}

/** Invites expire and the guest's clock is set from ours, so it should be kept by somebody. */
async function clock(): Promise<Check[]> {
  const release = new Date('2025-01-01')
  if (Date.now() < release.getTime()) {
    const found = `The clock says ${new Date().toISOString()}`
    return [{ name: 'clock', state: 'missing', found, hint: 'Set the date and time.' }]
  }
  const kept = await readFile('/run/systemd/timesync/synchronized').catch(() => null)
  if (kept !== null) return [{ name: 'clock', state: 'ok', found: 'The clock is synchronized' }]
  return [
    {
      name: 'clock',
      state: 'unknown',
      found: 'No sign of systemd-timesyncd: whether the clock is synchronized is not known',
      hint: 'Guests get their time from this machine: see that something keeps it right.'
    }
  ]
}

/** Peers are reached over UDP. */
function udp(): Promise<Check[]> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4')
    socket.once('error', (err) => {
      socket.close()
      const found = `No UDP port can be opened: ${err.message}`
      resolve([{ name: 'network', state: 'missing', found, hint: 'Peers are reached over UDP.' }])
    })
    socket.bind(0, () => {
      socket.close(() =>
        resolve([{ name: 'network', state: 'ok', found: 'UDP ports can be opened' }])
      )
    })
  })
}
