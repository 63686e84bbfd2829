/** What the devices take from the machine at one moment. */
import { lstat, readdir, readFile, readlink } from 'node:fs/promises'
import path from 'node:path'
import { mountsBelow, processes } from '../../examples/demo/clean-up.ts'
import type { Device } from '../../examples/demo/device.ts'

const BLOCK_BYTES = 512

export interface ProcessVitals {
  rssBytes: number
  /** The most it ever had. */
  peakBytes: number
  /** But for those of the store. */
  descriptors: number
  /** Of the store's database, which keeps some of them open. */
  storeFiles: number
}

/** Between two runs of the VM. */
export interface RestVitals {
  /** Of all devices and the DHT, all that they started included. */
  processes: number
  mounts: string[]
  /** Files of parcels that only a run needs, from the homes. */
  leftovers: string[]
  daemons: Record<string, ProcessVitals>
  homeBytes: Record<string, number>
}

export async function restVitals(directory: string, devices: Device[]): Promise<RestVitals> {
  const vitals: RestVitals = {
    processes: await countProcesses(directory),
    mounts: await mountsBelow(directory),
    leftovers: [],
    daemons: {},
    homeBytes: {}
  }
  for (const device of devices) {
    vitals.leftovers.push(...(await leftovers(device.home)))
    vitals.daemons[device.name] = await processVitals((await device.status()).pid)
    vitals.homeBytes[device.name] = await bytesOf(device.home)
  }
  return vitals
}

/** Of the runner of the VM on that device; null when there is none. */
export async function runnerVitals(device: Device): Promise<ProcessVitals | null> {
  const [pid] = await processes(device.home, (line) => line.includes('/runner/main.js '))
  return pid === undefined ? null : processVitals(pid)
}

/** Ours, by their arguments, and what they started. */
export async function countProcesses(directory: string): Promise<number> {
  const parents = new Map<number, number>()
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = await readFile(`/proc/${name}/stat`, 'latin1').catch(() => '')
    const parent = /\) \S (\d+) /.exec(stat)?.[1]
    if (parent !== undefined) parents.set(Number(name), Number(parent))
  }
  const ours = new Set(await processes(directory))
  for (let before = -1; before !== ours.size;) {
    before = ours.size
    for (const [pid, parent] of parents) if (ours.has(parent)) ours.add(pid)
  }
  // It is there now and then, and is no leftover.
  const standby = await processes(directory, (line) => line.includes('/runner/standby.js '))
  for (const pid of standby) ours.delete(pid)
  return ours.size
}

async function processVitals(pid: number): Promise<ProcessVitals> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1')
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1])
  let descriptors = 0
  let storeFiles = 0
  for (const name of await readdir(`/proc/${pid}/fd`)) {
    const file = await readlink(`/proc/${pid}/fd/${name}`).catch(() => '')
    if (/\/store\/.*\.(blob|sst)$/.test(file)) storeFiles++
    else descriptors++
  }
  return {
    rssBytes: kib('VmRSS') * 1024,
    peakBytes: kib('VmHWM') * 1024,
    descriptors,
    storeFiles
  }
}

async function leftovers(home: string): Promise<string[]> {
  const folder = path.join(home, 'parcels')
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  return entries
    .filter((entry) => !entry.isDirectory() && !entry.name.endsWith('.log'))
    .map((entry) => path.relative(home, path.join(entry.parentPath, entry.name)))
}

/** On the disk, as du(1) counts; not what is mounted below. */
async function bytesOf(directory: string): Promise<number> {
  const { dev } = await lstat(directory)
  let bytes = 0
  for (const name of ['', ...(await readdir(directory, { recursive: true }))]) {
    const found = await lstat(path.join(directory, name)).catch(() => null) // gone meanwhile
    if (found !== null && found.dev === dev) bytes += found.blocks * BLOCK_BYTES
  }
  return bytes
}
