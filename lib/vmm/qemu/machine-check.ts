/** A machine configuration comes from a version that another device wrote: nothing in it may become an option of QEMU. */
import { HyperparcelError } from '../../base/errors.ts'
import type { MachineConfig } from '../driver.ts'

export const DISKS_MAX = 16
const MEMORY_UNIT_BYTES = 1024 * 1024
const CPUS_MAX = 255

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
const CPU_MODEL = /^[A-Za-z0-9][A-Za-z0-9._+=,-]{0,255}$/
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i

/** Throws `MACHINE_INVALID`. */
export function checkMachine(machine: MachineConfig): void {
  check(machine.vmm === 'qemu', 'its VMM is not QEMU')
  check(/^pc-q35-\d+\.\d+$/.test(machine.machineType), 'its machine type is not a versioned q35')
  check(['kvm', 'tcg'].includes(machine.accelerator), 'its accelerator is unknown')
  check(CPU_MODEL.test(machine.cpuModel), 'its CPU model is malformed')
  check(Number.isInteger(machine.cpus) && machine.cpus >= 1, 'it has no CPU')
  check(machine.cpus <= CPUS_MAX, `it has more than ${CPUS_MAX} CPUs`)
  check(
    Number.isSafeInteger(machine.memoryBytes) &&
      machine.memoryBytes > 0 &&
      machine.memoryBytes % MEMORY_UNIT_BYTES === 0,
    'its memory is not a multiple of 1 MiB'
  )
  check(UUID.test(machine.vmGenId), 'its generation id is not a UUID')
  check(MAC.test(machine.macAddress), 'its network address is malformed')
  check(machine.disks.length <= DISKS_MAX, `it has more than ${DISKS_MAX} disks`)
  const { kernel, isoVolume } = machine
  const volumes = [...machine.disks.map((disk) => disk.volume)]
  if (isoVolume !== undefined) volumes.push(isoVolume)
  if (kernel !== undefined) {
    volumes.push(kernel.kernelVolume)
    if (kernel.initrdVolume !== undefined) volumes.push(kernel.initrdVolume)
    check(!/[\0\n]/.test(kernel.append), "its kernel's command line is malformed")
  }
  check(
    volumes.every((name) => NAME.test(name)),
    'the name of a volume is malformed'
  )
  check(new Set(volumes).size === volumes.length, 'two of its volumes have one name')
}

function check(condition: boolean, problem: string): void {
  if (!condition)
    throw new HyperparcelError('MACHINE_INVALID', `The machine cannot run: ${problem}`)
}
