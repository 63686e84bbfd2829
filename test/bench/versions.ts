/**
 * `versions-storage` and `versions-traffic`: what ten versions of a guest at work cost, on the disk and on the way to a
 * second device, against block differencing of the very same images. The image that the parcel was made from is not
 * in the figures: it costs both alike.
 *
 * The second device exports the volumes of each version, so it fetches all of them; device state stays where it is.
 */
import { rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SerialConsole } from '../../examples/guest/serial-console.ts'
import { fixed, round, rowOf, type BenchOptions, type BenchRow } from './framework.ts'
import type { BenchHome } from './parts/bench-home.ts'
import { benchGuest } from './parts/image.ts'
import { measureParts, type Workspace } from './parts/workspace.ts'
import { Differences, type Cost } from './versions/differences.ts'
import { DEBIAN_LIFE, SMALL_LIFE } from './versions/life.ts'
import { packagesDisk } from './versions/packages.ts'

const STORAGE = { name: 'versions-storage', unit: 'MB', better: 'lower', goal: 2.5 } as const
const TRAFFIC = { name: 'versions-traffic', unit: 'MB', better: 'lower', goal: 3.3 } as const
const STEP_MS = 1_800_000
const NEWS_POLL_MS = 100

export function run(opts: BenchOptions): Promise<BenchRow[]> {
  return measureParts(opts, [{ rows: [STORAGE.name, TRAFFIC.name], measure }])
}

async function measure(workspace: Workspace): Promise<BenchRow[]> {
  const { directory, bootstrap, opts } = workspace
  const guest = await benchGuest(opts)
  const disks = opts.small ? [guest.disk] : [guest.disk, await packagesDisk(directory)]
  const home = await workspace.home()
  await home.device.run(
    ...['create', 'guest', '--memory', opts.small ? '96M' : '512M'],
    ...disks.flatMap((disk) => ['--disk', disk]),
    ...['--kernel', guest.kernel, '--initrd', guest.initrd, '--append', guest.append]
  )
  const office = await home.join(bootstrap, opts.signal)
  const images = new Images(directory, office, disks, [guest.kernel, guest.initrd])
  opts.log('versions: version 1 goes to the second device')
  const base = await images.first()
  const before = await home.storedBytes()
  await home.startDaemon()

  const sums = { storedBytes: 0, receivedBytes: 0 }
  const disk: Cost = { blockBytes: 0, chunkBytes: 0 }
  const memory: Cost = { blockBytes: 0, chunkBytes: 0 }
  let version = 1
  for (const { name, command } of opts.small ? SMALL_LIFE : DEBIAN_LIFE) {
    const stored = await live(home, command)
    const received = (await office.device.status()).bytes_received
    const costs = await images.next(++version)
    const traffic = (await office.device.status()).bytes_received - received
    sums.storedBytes += stored
    sums.receivedBytes += traffic
    add(disk, costs.disk)
    add(memory, costs.memory)
    const [b, c] = [costs.disk, costs.memory]
    opts.log(
      `versions: ${version}, ${name}: stored ${mb(stored)} MB, sent ${mb(traffic)} MB; ` +
        `differencing ${mb(b.blockBytes)} MB of disk, ${mb(c.blockBytes)} MB of memory; ` +
        `new chunks ${mb(b.chunkBytes)} MB, ${mb(c.chunkBytes)} MB`
    )
  }
  const onDisk = (await home.storedBytes()) - before
  const peerBytes = disk.blockBytes + memory.blockBytes
  const ceiling = disk.chunkBytes + memory.chunkBytes
  const peer = [fixed('128 KiB differencing, zstd 3', peerBytes / 1e6)]
  const details = {
    versions: version - 1,
    'peer, disk MB': mb(disk.blockBytes),
    'peer, memory MB': mb(memory.blockBytes),
    'new chunks, disk MB': mb(disk.chunkBytes),
    'new chunks, memory MB': mb(memory.chunkBytes),
    ceiling: round(peerBytes / ceiling),
    'ceiling, disk': round(disk.blockBytes / disk.chunkBytes),
    'ceiling, memory': round(memory.blockBytes / memory.chunkBytes)
  }
  const stored = {
    ...details,
    'ours without the store around it MB': mb(sums.storedBytes),
    'with version 1, peer and ours MB': `${mb(peerBytes + base)} and ${mb(onDisk + before)}`
  }
  return [
    rowOf({ ...STORAGE, details: stored }, fixed('ours', onDisk / 1e6), peer),
    rowOf({ ...TRAFFIC, details }, fixed('ours', sums.receivedBytes / 1e6), peer)
  ]
}

/** Resumes the guest, lets it work and suspends it. What the version stored, in bytes. */
async function live(home: BenchHome, command: string): Promise<number> {
  const { result } = await home.device.run<{ serial: string }>('resume', 'guest')
  const console = new SerialConsole(result.serial)
  try {
    await console.ready(STEP_MS)
    await console.run(command, { timeoutMs: STEP_MS })
  } finally {
    console.close()
  }
  const suspended = await home.device.run<{ bytes_stored: number }>('suspend', 'guest')
  return suspended.result.bytes_stored
}

/** The volumes of the newest version and of the one before, as files; the second device exports them. */
class Images {
  readonly #directory: string
  readonly #office: BenchHome
  readonly #differences = new Differences()
  readonly #before: Map<string, string>
  readonly #disks: string[]
  /** All volumes of version 1. */
  readonly #given: Map<string, string>

  constructor(directory: string, office: BenchHome, disks: string[], kernel: [string, string]) {
    this.#directory = directory
    this.#office = office
    this.#before = new Map(disks.map((file, i) => [`disk${i}`, file]))
    this.#disks = [...this.#before.keys()]
    this.#given = new Map([...this.#before, ['kernel', kernel[0]], ['initrd', kernel[1]]])
  }

  /** Fetches version 1; what its volumes cost either way, compressed. */
  async first(): Promise<number> {
    let bytes = 0
    for (const [volume, file] of this.#given) {
      const copy = path.join(this.#directory, 'first')
      await this.#export(volume, 1, copy)
      await rm(copy)
      bytes += (await this.#differences.cost(file, null)).blockBytes
    }
    return bytes
  }

  async next(version: number): Promise<{ disk: Cost; memory: Cost }> {
    await this.#known(version)
    const costs = {
      disk: { blockBytes: 0, chunkBytes: 0 },
      memory: { blockBytes: 0, chunkBytes: 0 }
    }
    for (const volume of [...this.#disks, 'memory']) {
      const [fresh, kept] = ['new', 'old'].map((n) => path.join(this.#directory, `${volume}.${n}`))
      await this.#export(volume, version, fresh)
      const before = this.#before.get(volume) ?? null
      add(
        volume === 'memory' ? costs.memory : costs.disk,
        await this.#differences.cost(fresh, before)
      )
      await rename(fresh, kept)
      this.#before.set(volume, kept)
    }
    return costs
  }

  async #export(volume: string, version: number, file: string): Promise<void> {
    const options = ['--volume', volume, '--version', String(version)]
    await this.#office.device.run('export', 'guest', file, ...options)
  }

  async #known(version: number): Promise<void> {
    for (;;) {
      const { result } = await this.#office.device.run<{ versions: { version: number }[] }>(
        ...(['log', 'guest'] as const)
      )
      if (result.versions.some((known) => known.version === version)) return
      await sleep(NEWS_POLL_MS)
    }
  }
}

function add(sum: Cost, more: Cost): void {
  sum.blockBytes += more.blockBytes
  sum.chunkBytes += more.chunkBytes
}

function mb(bytes: number): number {
  return round(bytes / 1e6)
}
