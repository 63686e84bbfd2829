/**
 * Devices for end-to-end tests: the real program as processes, each device in a home of its own, all on a private DHT
 * on the loopback.
 *
 * Everything lives below one short directory, and every process of ours names a path in it among its arguments: that
 * is how the end of a test finds, by id, whatever is still there, takes its mounts away and removes the directory,
 * also when the test failed. With HYPERPARCEL_TEST_KEEP=true the directory stays, for a look at its logs.
 */
import { spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { copyFile, mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import type { Assert } from 'brittle'
import { testCache, testGuest } from './guest.ts'
import { startProgram, type Program, type ProgramOptions, type ProgramRun } from './program.ts'
import { SerialConsole } from './serial-console.ts'
import { until } from './until.ts'

/** Programs that a device runs, by a word that only their arguments have. */
const PROCESSES = {
  daemon: '\0daemon\0run\0',
  runner: '/runner/main.js',
  qemu: 'qemu-system-x86_64\0',
  nbdfuse: 'nbdfuse\0',
  'qemu-img': 'qemu-img\0'
} as const

export type ProcessKind = keyof typeof PROCESSES

/** A rehearsal after each suspend would cost every test a second VM. */
const SETTINGS: Json = { rehearsal: false }

/** Where devices run, if not all on the loopback. */
export interface FleetPlace {
  /** The address that devices reach the DHT by. */
  dhtHost: string
  /** What starts the programs of that device, or those of the DHT (`dht`). */
  through(name: string): string[]
  /** Further options of `init` and `join`. */
  network: string[]
}

const LOOPBACK: FleetPlace = { dhtHost: '127.0.0.1', through: () => [], network: [] }

/** A new directory for a fleet; it goes with the test, after all that is below it ended. */
export function fleetDirectory(t: Assert): string {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'hpdev-'))
  const clean = () => cleanUp(directory)
  process.on('exit', clean) // after a crash of the test's process
  t.teardown(
    () => {
      process.off('exit', clean)
      clean()
    },
    { force: true, order: 100 }
  )
  return directory
}

export class Fleet {
  readonly directory: string
  readonly bootstrap: string
  readonly #t: Assert
  readonly #place: FleetPlace

  private constructor(t: Assert, directory: string, bootstrap: string, place: FleetPlace) {
    this.#t = t
    this.directory = directory
    this.bootstrap = bootstrap
    this.#place = place
  }

  /** A private DHT and no device yet. */
  static async open(
    t: Assert,
    directory = fleetDirectory(t),
    place: FleetPlace = LOOPBACK
  ): Promise<Fleet> {
    const port = await freePort()
    const { dhtHost } = place
    const args = ['--home', path.join(directory, 'dht'), '--json', 'dht', '--host', dhtHost]
    const through = place.through('dht')
    const dht = startProgram([...args, '--port', String(port)], { cwd: directory, through })
    t.teardown(() => dht.end(), { force: true, order: 90 })
    await dht.saw('bootstrap')
    return new Fleet(t, directory, `${dhtHost}:${port}`, place)
  }

  /** Options of `init` and `join`. */
  get network(): string[] {
    return ['--bootstrap', this.bootstrap, ...this.#place.network]
  }

  /** A home below the fleet's directory, not made yet. */
  device(name: string, home = path.join(this.directory, name)): Device {
    const device = new Device(name, home, this.bootstrap)
    device.through = this.#place.through(name)
    this.#t.teardown(() => device.close(), { force: true, order: 50 })
    return device
  }

  /** The first device of a fleet. */
  async first(name = 'home', settings: Json = SETTINGS): Promise<Device> {
    const device = this.device(name)
    await device.configure(settings)
    await device.ok(['init', '--name', name, ...this.network])
    return device
  }

  /** Another device, by an invite of that one. Resolves when both see each other. */
  async join(host: Device, name: string, settings: Json = SETTINGS): Promise<Device> {
    const device = this.device(name)
    await device.configure(settings)
    const { invite } = await host.ok(['invite', '--no-wait'])
    await device.ok(['join', String(invite), '--name', name, ...this.network])
    await until(async () => (await device.online()).includes(host.name))
    await until(async () => (await host.online()).includes(name))
    return device
  }
}

export class Device {
  readonly name: string
  readonly home: string
  readonly bootstrap: string
  /** What starts its programs: `ip netns exec …`. */
  through: string[] = []
  readonly #consoles = new Map<string, SerialConsole>()

  constructor(name: string, home: string, bootstrap: string) {
    this.name = name
    this.home = home
    this.bootstrap = bootstrap
  }

  /** Settings of a home that is not made yet. */
  async configure(settings: Json): Promise<void> {
    await mkdir(this.home, { recursive: true, mode: 0o700 })
    await writeFile(path.join(this.home, 'config.json'), JSON.stringify(settings), { mode: 0o600 })
  }

  start(args: string[], opts: ProgramOptions = {}): Program {
    return startProgram(['--home', this.home, '--json', ...args], {
      through: this.through,
      ...opts
    })
  }

  run(args: string[], opts: ProgramOptions = {}): Promise<ProgramRun> {
    return this.start(args, opts).done
  }

  /** As `run`, but rejects unless the exit code is 0. */
  async ok(args: string[], opts: ProgramOptions = {}): Promise<Json> {
    const { code, json, stderr } = await this.run(args, opts)
    if (code === 0) return json
    throw new Error(
      `${this.name}: ${args.join(' ')}: exit code ${code}: ${JSON.stringify(json)} ${stderr}`
    )
  }

  /** A parcel of the test guest. */
  async createGuest(name: string, memory = '192M', more: string[] = []): Promise<Json> {
    const { disk, kernel, initrd, append } = await testGuest()
    const files = ['--disk', disk, '--kernel', kernel, '--initrd', initrd, '--append', append]
    return this.create(name, [...files, '--memory', memory, ...more])
  }

  /** The probe of KVM takes seconds where that hangs: its answer is kept with the guest. */
  async create(name: string, args: string[]): Promise<Json> {
    const known = path.join(testCache(), 'kvm.json')
    const own = path.join(this.home, 'vmm', 'kvm.json')
    await mkdir(path.dirname(own), { recursive: true, mode: 0o700 })
    await copyFile(known, own).catch(() => {})
    const created = await this.ok(['create', name, ...args])
    await mkdir(testCache(), { recursive: true })
    await copyFile(own, known).catch(() => {})
    return created
  }

  /** The row of `ls`. */
  async parcel(name: string): Promise<Json | null> {
    const { parcels } = await this.ok(['ls'])
    return (parcels as Json[]).find((row) => row['name'] === name) ?? null
  }

  /** The console of a parcel that runs here. One for all of its runs: QEMU talks to one client. */
  async console(parcel: string): Promise<SerialConsole> {
    const { parcel: found } = (await this.ok(['show', parcel])) as { parcel: { serial: string } }
    const console = this.#consoles.get(found.serial) ?? new SerialConsole(found.serial)
    this.#consoles.set(found.serial, console)
    return console
  }

  async online(): Promise<string[]> {
    return (await this.ok(['status']))['online'] as string[]
  }

  /** Ids of the processes of that kind which this device has. */
  processes(kind: ProcessKind): number[] {
    const word = PROCESSES[kind]
    return processesBelow(this.home)
      .filter(
        ({ command }) => command.includes(word) && !/^(prlimit|setpriv|sh|bwrap)\0/.test(command)
      )
      .map(({ pid }) => pid)
  }

  /** Sends a signal to its processes of that kind; resolves when they are gone, unless they only stop or go on. */
  async kill(kind: ProcessKind, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    for (const pid of this.processes(kind)) process.kill(pid, signal)
    if (signal !== 'SIGSTOP' && signal !== 'SIGCONT')
      await until(() => this.processes(kind).length === 0)
  }

  mounts(): string[] {
    return mountsBelow(this.home)
  }

  /** The daemon's log so far. */
  log(): Promise<string> {
    return readFile(path.join(this.home, 'daemon.log'), 'utf8')
  }

  /** Files in the folders of its parcels, but for logs. */
  async leftovers(): Promise<string[]> {
    const folder = path.join(this.home, 'parcels')
    const names = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
    return names
      .filter((entry) => !entry.isDirectory() && !entry.name.endsWith('.log'))
      .map((entry) => path.join(path.basename(entry.parentPath), entry.name))
  }

  close(): void {
    for (const console of this.#consoles.values()) console.close()
  }
}

export type Json = Record<string, unknown>

/** Ends what is left below that directory, at once, and removes it. Synchronous, for the end of the process. */
function cleanUp(directory: string): void {
  for (let attempt = 0; attempt < 50; attempt++) {
    const left = processesBelow(directory)
    for (const { pid } of left) endProcess(pid)
    for (const mount of mountsBelow(directory)) spawnSync('umount', ['-l', mount])
    if (left.length === 0) break
    spawnSync('sleep', ['0.02'])
  }
  if (process.env['HYPERPARCEL_TEST_KEEP'] === 'true') console.error(`Kept ${directory}`)
  else rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // gone already
  }
}

/** Processes with a path below that directory among their arguments. `command`: arguments, each ended by NUL. */
export function processesBelow(directory: string): { pid: number; command: string }[] {
  const found: { pid: number; command: string }[] = []
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    const command = read(`/proc/${name}/cmdline`)
    if (command.includes(`${directory}/`) || command.includes(`${directory}\0`)) {
      found.push({ pid, command })
    }
  }
  return found
}

export function mountsBelow(directory: string): string[] {
  return read('/proc/self/mountinfo')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mount) => mount.startsWith(`${directory}/`))
    .toReversed()
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}

async function freePort(): Promise<number> {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.close()
  return port
}
