import type { MachineConfig } from '../../../lib/vmm/driver.ts'

/** A machine with everything in it. */
export function machine(changes: Partial<MachineConfig> = {}): MachineConfig {
  return {
    vmm: 'qemu',
    vmmVersion: '7.2.22',
    machineType: 'pc-q35-7.2',
    accelerator: 'tcg',
    cpuModel: 'qemu64-v1,-svm,+aes,vendor=AuthenticAMD,enforce',
    cpus: 2,
    memoryBytes: 512 * 1024 * 1024,
    vmGenId: '00112233-4455-6677-8899-aabbccddeeff',
    macAddress: '52:54:00:01:02:03',
    disks: [
      { volume: 'disk0', bytes: 1 << 30 },
      { volume: 'disk1', bytes: 1 << 30 }
    ],
    kernel: { kernelVolume: 'kernel', initrdVolume: 'initrd', append: 'console=ttyS0' },
    isoVolume: 'iso',
    ...changes
  }
}
