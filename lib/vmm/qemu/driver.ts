/** The VMM driver for unmodified QEMU. Holds nothing but what it learnt about this host. */
import { randomUUID } from 'node:crypto'
import { HyperparcelError } from '../../base/errors.ts'
import type { LaunchSpec, MachineConfig, MachineRequest, Vm, VmmDriver } from '../driver.ts'
import { askKvm, type KvmAnswer } from './accelerator.ts'
import { randomMac } from '../identity.ts'
import { cpuMismatch, cpuModel, hostCpu } from './cpu.ts'
import { askQemu, type QemuHost } from './host.ts'
import { checkMachine } from './machine-check.ts'
import { QemuVm } from './vm.ts'

export interface QemuDriverOptions {
  /** Keeps what was learnt about this host; null: it is asked again by each process. */
  cacheDirectory: string | null
  /** Asked for by the user; otherwise KVM where it works. */
  accelerator?: 'kvm' | 'tcg'
  /** Read around a page fault, KiB, where this user may set it. */
  readAheadKb?: number
}

/**
 * Small, because pages of RAM that are used together rarely lie together; not one page, because what is stored comes in
 * segments of 64 KiB, whose rest is at hand.
 */
const READ_AHEAD_KB = 16
/** The memory of a VM that boots is all zeros: nothing travels, and fewer faults are faster. */
const BOOT_READ_AHEAD_KB = 128

export class QemuDriver implements VmmDriver {
  readonly name = 'qemu'
  readonly #options: QemuDriverOptions
  #host: Promise<QemuHost> | null = null
  #kvm: Promise<KvmAnswer> | null = null

  constructor(options: QemuDriverOptions) {
    this.#options = options
  }

  async plan(request: MachineRequest): Promise<MachineConfig> {
    const [host, cpu, accelerator] = await Promise.all([
      this.host(),
      hostCpu(),
      this.#accelerator()
    ])
    if (host.machineTypes.length === 0) {
      throw new HyperparcelError('VMM_MISSING', `QEMU ${host.version} has no q35 machine`, {
        hint: 'Install QEMU for PCs: apt-get install qemu-system-x86'
      })
    }
    const machine: MachineConfig = {
      vmm: this.name,
      vmmVersion: host.version,
      machineType: host.machineTypes[0],
      accelerator,
      cpuModel: cpuModel(accelerator, cpu),
      cpus: request.cpus,
      memoryBytes: request.memoryBytes,
      vmGenId: randomUUID(),
      macAddress: randomMac(),
      disks: request.disks
    }
    if (request.kernel !== undefined) machine.kernel = request.kernel
    if (request.isoVolume !== undefined) machine.isoVolume = request.isoVolume
    checkMachine(machine)
    return machine
  }

  async mismatch(machine: MachineConfig): Promise<string | null> {
    if (machine.vmm !== this.name) return `it was saved by ${machine.vmm}, this is QEMU`
    checkMachine(machine)
    const host = await this.host()
    if (!host.machineTypes.includes(machine.machineType)) {
      return `QEMU ${host.version} here has no machine type ${machine.machineType}`
    }
    if (machine.accelerator === 'tcg') return null
    const kvm = await this.kvm()
    if (!kvm.works) return `it was saved under KVM, which does not work here: ${kvm.reason}`
    return cpuMismatch(machine.cpuModel, await hostCpu())
  }

  async launch(spec: LaunchSpec): Promise<Vm> {
    checkMachine(spec.machine)
    for (const volume of volumesOf(spec.machine)) {
      if (spec.nbdSockets[volume] === undefined) {
        throw new HyperparcelError('VMM_FAILED', `Nobody serves the volume ${volume}`)
      }
    }
    const readAheadKb = this.#options.readAheadKb ?? READ_AHEAD_KB
    return QemuVm.launch(spec, spec.restore ? readAheadKb : BOOT_READ_AHEAD_KB)
  }

  /** QEMU as it is installed here. */
  host(): Promise<QemuHost> {
    this.#host ??= askQemu().catch((err: unknown) => {
      this.#host = null // it may be installed meanwhile
      throw err
    })
    return this.#host
  }

  /** Whether KVM works here; takes a few seconds the first time on a host where it hangs. */
  kvm(): Promise<KvmAnswer> {
    this.#kvm ??= Promise.all([this.host(), hostCpu()]).then(([host, cpu]) =>
      askKvm(host.version, cpuModel('kvm', cpu), this.#options.cacheDirectory)
    )
    return this.#kvm
  }

  async #accelerator(): Promise<'kvm' | 'tcg'> {
    if (this.#options.accelerator !== undefined) return this.#options.accelerator
    return (await this.kvm()).works ? 'kvm' : 'tcg'
  }
}

function volumesOf(machine: MachineConfig): string[] {
  const volumes = ['memory', ...machine.disks.map((disk) => disk.volume)]
  if (machine.isoVolume !== undefined) volumes.push(machine.isoVolume)
  if (machine.kernel !== undefined) {
    volumes.push(machine.kernel.kernelVolume)
    if (machine.kernel.initrdVolume !== undefined) volumes.push(machine.kernel.initrdVolume)
  }
  return volumes
}

/** Locally administered, unicast, in the range that QEMU uses. */
