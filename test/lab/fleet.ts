/** The devices in the lab: one at home that has the parcel, and one at the office that is new for each resume. */
import { execFile, spawn } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { Device } from '../../examples/demo/device.ts'
import { startDht } from '../../examples/demo/private-dht.ts'
import type { Timeline } from '../../examples/demo/timeline.ts'
import type { Guest } from '../../examples/guest/build.ts'
import { SerialConsole } from '../../examples/guest/serial-console.ts'
import { HyperparcelError } from '../../lib/base/errors.ts'
import type { ResumeResult, Result } from '../../lib/daemon/api.ts'
import { Wan, type Shape } from './wan.ts'

export const PARCEL = 'lab'
const SITES = { home: ['dht', 'home'], office: ['office', 'cache'], far: ['far'] }
/** A link that is not what is being measured. */
const FAST: Shape = { mbps: null, rttMs: 0 }
const FAR: Shape = { mbps: null, rttMs: 80 }
const BOOT_MS = 900_000
const MEET_MS = 120_000
const REHEARSE_MS = 600_000
const POLL_MS = 50
/** Until what a fresh Debian still has to do is done. */
const SETTLE_MS = 20_000
const SETTLE_SMALL_MS = 2000
/** What two devices tell each other first. */
const SETTLED_MS = 3000
const IPERF_START_MS = 1000

export interface Stage {
  directory: string
  timeline: Timeline
  signal: AbortSignal
}

/** Of `stats`. */
interface Packs {
  made: number
  failed: number
}

export class LabFleet {
  readonly home: Device
  readonly #stage: Stage
  readonly #wan: Wan
  #bootstrap = ''
  #offices = 0

  private constructor(stage: Stage, wan: Wan) {
    this.#stage = stage
    this.#wan = wan
    this.home = new Device('home', stage.directory, stage.signal, wan.host('home').through)
  }

  /** Namespaces, links, a DHT, and a fleet of one device. */
  static async open(stage: Stage): Promise<LabFleet> {
    const wan = await Wan.open(stage.directory, SITES)
    const fleet = new LabFleet(stage, wan)
    await wan.join('home', 'office', FAST)
    await wan.join('home', 'far', FAR)
    const { address, through } = wan.host('dht')
    fleet.#bootstrap = await startDht(stage.directory, { host: address, through })
    await fleet.home.run('init', '--name', 'home', ...fleet.#network)
    return fleet
  }

  /** What stands for the Internet is one Ethernet here, on which devices would find each other as on a local network. */
  get #network(): string[] {
    return ['--bootstrap', this.#bootstrap, '--no-lan']
  }

  /** A VM that was used, suspended at home and, if that is wanted, rehearsed there. */
  async parcel(guest: Guest, small: boolean, rehearse: boolean): Promise<void> {
    const { home } = this
    if (rehearse) await home.run('config', 'rehearsal', 'true')
    await home.run<Result<'create'>>(
      ...['create', PARCEL, '--disk', guest.disk, '--memory', small ? '192M' : '256M'],
      ...['--kernel', guest.kernel, '--initrd', guest.initrd, '--append', guest.append]
    )
    const { result } = await home.run<ResumeResult>('resume', PARCEL)
    const console = new SerialConsole(result.serial)
    await console.ready(BOOT_MS)
    await console.run('ls / | wc -l; uptime; sync')
    await this.#sleep(small ? SETTLE_SMALL_MS : SETTLE_MS)
    console.close()
    await home.run('suspend', PARCEL)
    if (rehearse) await this.until('the VM is rehearsed', () => this.#rehearsed(), REHEARSE_MS)
  }

  /** Whether a version can be rehearsed; switches that off. */
  async canRehearse(): Promise<boolean> {
    try {
      await this.home.run('config', 'rehearsal', 'false')
      return true
    } catch (err) {
      if ((err as { code?: string }).code === 'CONFIG_UNKNOWN') return false
      throw err
    }
  }

  async #rehearsed(): Promise<boolean> {
    const { packs } = (await this.home.run<{ packs: Packs }>('stats')).result
    if (packs.failed === 0) return packs.made > 0
    throw new HyperparcelError('LAB_FAILED', 'The rehearsal failed', {
      hint: 'With --keep, daemon.log in the home says why.'
    })
  }

  /** How home and office are joined from now on; null is not at all. */
  async link(shape: Shape | 'fast' | null): Promise<void> {
    if (shape === null) await this.#wan.cut('home', 'office')
    else await this.#wan.join('home', 'office', shape === 'fast' ? FAST : shape)
  }

  /** A device that has nothing yet but knows of the parcel. */
  async newOffice(): Promise<Device> {
    const { directory, signal } = this.#stage
    const name = `office${++this.#offices}`
    const office = new Device(name, directory, signal, this.#wan.host('office').through)
    const { invite } = (await this.home.run<Result<'invite'>>('invite', '--no-wait')).result
    await office.run('join', invite, '--name', name, ...this.#network)
    await this.connected(office)
    await this.until(`${name} learns of the parcel`, async () => {
      const { parcels } = (await office.run<Result<'ls'>>('ls')).result
      return parcels.some((parcel) => parcel.name === PARCEL && (parcel.version ?? 0) > 1)
    })
    return office
  }

  /**
   * That link, and a fresh connection over it: one that knew another link goes on for ten seconds as if it were the old
   * one, which nobody who comes to the office sees.
   */
  async linkAnew(device: Device, shape: Shape): Promise<void> {
    await device.run('daemon', 'stop')
    device.close()
    await this.link(shape)
    await device.run('ls')
    await this.connected(device)
    await this.#sleep(SETTLED_MS)
  }

  async connected(device: Device): Promise<void> {
    await this.until(`${device.name} is connected`, async () => (await device.status()).peers > 0)
  }

  async removeOffice(office: Device): Promise<void> {
    await office.run('daemon', 'stop')
    office.close()
    await rm(office.home, { recursive: true, force: true })
  }

  async until(what: string, condition: () => Promise<boolean>, timeoutMs = MEET_MS): Promise<void> {
    const end = performance.now() + timeoutMs
    while (!(await condition())) {
      if (performance.now() > end) {
        throw new HyperparcelError('LAB_FAILED', `It does not come about that ${what}`)
      }
      await this.#sleep(POLL_MS)
    }
  }

  /** A directory with all of the parcel, as a stick that the user brings along. */
  async stick(office: Device): Promise<void> {
    const stick = path.join(this.#stage.directory, 'stick')
    await mkdir(stick, { recursive: true })
    await this.home.run('lookaside', 'fill', stick, PARCEL)
    await office.run('lookaside', 'add', stick)
  }

  /** Megabits a second that TCP moves from home to the office. */
  async tcpRate(): Promise<number> {
    const [home, office] = [this.#wan.host('home'), this.#wan.host('office')]
    const pidFile = path.join(this.#stage.directory, 'iperf3.pid')
    const [program, ...through] = home.through
    const serve = ['iperf3', '--server', '--one-off', '--pidfile', pidFile]
    const server = spawn(program, [...through, ...serve], { stdio: 'ignore' })
    try {
      await this.#sleep(IPERF_START_MS)
      const ask = ['iperf3', '--client', home.address, '--reverse', '--json', '--time', '5']
      const [client, ...rest] = [...office.through, ...ask]
      const { stdout } = await promisify(execFile)(client, rest, { maxBuffer: 1 << 24 })
      const said = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } }
      return said.end.sum_received.bits_per_second / 1e6
    } finally {
      server.kill()
    }
  }

  async close(): Promise<void> {
    this.home.close()
    await this.#wan.close()
  }

  async #sleep(durationMs: number): Promise<void> {
    this.#stage.signal.throwIfAborted()
    await new Promise((resolve) => setTimeout(resolve, durationMs))
  }
}
