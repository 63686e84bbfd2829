/** A small Linux guest for tests, with all of its volumes in memory, served over NBD by the project's own server. */
import { mkdir, open, stat } from 'node:fs/promises'
import path from 'node:path'
import { userCache } from '../../examples/guest/cache.ts'
import { buildGuest, type Guest } from '../../examples/guest/build.ts'
import { NbdServer } from '../../lib/block/nbd/server.ts'
import type { LaunchSpec, MachineConfig, VmExit, VmmDriver } from '../../lib/vmm/driver.ts'
import { TestDevice } from './test-device.ts'

const PIECE_BYTES = 1024 * 1024

let built: Promise<Guest> | null = null

/** What takes long to make and fits every run on this machine: $HYPERPARCEL_TEST_CACHE, or the user's cache. */
export function testCache(): string {
  return process.env['HYPERPARCEL_TEST_CACHE'] ?? userCache()
}

/** Built once a machine. */
export function testGuest(): Promise<Guest> {
  built ??= buildGuest(testCache())
  return built
}

/** The volumes of one VM and their exports. A second one made with `copy()` is another host that has the same data. */
export class GuestHost {
  readonly directory: string
  readonly devices: Record<string, TestDevice>
  readonly exits: VmExit[] = []
  readonly pauses: string[] = []
  readonly #servers: NbdServer[] = []
  #onexit: (() => void)[] = []

  private constructor(directory: string, devices: Record<string, TestDevice>) {
    this.directory = directory
    this.devices = devices
  }

  /** `directory` is short, for sockets. */
  static async boot(directory: string, memoryBytes: number): Promise<GuestHost> {
    const guest = await testGuest()
    return GuestHost.#serve(directory, {
      memory: new TestDevice(memoryBytes, false),
      disk0: await load(guest.disk, false),
      kernel: await load(guest.kernel, true),
      initrd: await load(guest.initrd, true)
    })
  }

  async copy(directory: string): Promise<GuestHost> {
    const devices: Record<string, TestDevice> = {}
    for (const [name, device] of Object.entries(this.devices)) devices[name] = device.copy()
    return GuestHost.#serve(directory, devices)
  }

  static async #serve(directory: string, devices: Record<string, TestDevice>): Promise<GuestHost> {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const host = new GuestHost(directory, devices)
    for (const [name, device] of Object.entries(devices)) {
      const server = new NbdServer({
        socketPath: path.join(directory, `${name}.nbd`),
        exports: { [name]: device },
        onerror: () => {}
      })
      await server.ready()
      host.#servers.push(server)
    }
    return host
  }

  async plan(driver: VmmDriver): Promise<MachineConfig> {
    const { append } = await testGuest()
    return driver.plan({
      cpus: 1,
      memoryBytes: this.devices['memory'].size,
      disks: [{ volume: 'disk0', bytes: this.devices['disk0'].size }],
      kernel: { kernelVolume: 'kernel', initrdVolume: 'initrd', append }
    })
  }

  spec(machine: MachineConfig, restore: boolean): LaunchSpec {
    const names = Object.keys(this.devices)
    return {
      machine,
      restore,
      nbdSockets: Object.fromEntries(names.map((n) => [n, path.join(this.directory, `${n}.nbd`)])),
      runDirectory: path.join(this.directory, 'vm'),
      serialSocket: this.serialSocket,
      vncSocket: path.join(this.directory, 'vnc.sock'),
      onExit: (exit) => {
        this.exits.push(exit)
        for (const wake of this.#onexit.splice(0)) wake()
      },
      onPause: (reason) => this.pauses.push(reason)
    }
  }

  get serialSocket(): string {
    return path.join(this.directory, 'serial.sock')
  }

  /** Resolves when the VM is gone. */
  async exited(): Promise<VmExit> {
    if (this.exits.length === 0) await new Promise<void>((resolve) => this.#onexit.push(resolve))
    return this.exits[0]
  }

  async close(): Promise<void> {
    for (const device of Object.values(this.devices)) device.release()
    await Promise.all(this.#servers.map((server) => server.close()))
  }
}

async function load(file: string, readOnly: boolean): Promise<TestDevice> {
  const { size } = await stat(file)
  const rounded = Math.ceil(size / 4096) * 4096
  const device = new TestDevice(rounded, readOnly)
  const handle = await open(file)
  try {
    for (let offset = 0; offset < size; offset += PIECE_BYTES) {
      const piece = Buffer.alloc(Math.min(PIECE_BYTES, size - offset))
      await handle.read(piece, 0, piece.length, offset)
      if (piece.some((byte) => byte !== 0)) device.content.pwrite(piece, offset, false)
    }
  } finally {
    await handle.close()
  }
  return device
}
