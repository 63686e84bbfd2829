import test from 'brittle'
import { checkMachine } from '../../../lib/vmm/qemu/machine-check.ts'
import type { MachineConfig } from '../../../lib/vmm/driver.ts'
import { machine } from './machine.ts'

test('a good machine passes', async (t) => {
  await t.execution(() => checkMachine(machine()))
  await t.execution(() =>
    checkMachine(machine({ disks: [], kernel: undefined, isoVolume: undefined }))
  )
})

const BAD: Record<string, Partial<MachineConfig>> = {
  'an option in the machine type': { machineType: 'pc-q35-7.2,firmware=/etc/shadow' },
  'an unversioned machine type': { machineType: 'q35' },
  'an option in the CPU model': { cpuModel: 'qemu64 -drive file=/etc/shadow' },
  'another accelerator': { accelerator: 'xen' as 'tcg' },
  'no CPU': { cpus: 0 },
  'half a CPU': { cpus: 1.5 },
  'odd memory': { memoryBytes: 1024 * 1024 + 1 },
  'negative memory': { memoryBytes: -1024 * 1024 },
  'a generation id that is no UUID': { vmGenId: 'auto' },
  'an address with more in it': { macAddress: '52:54:00:01:02:03,x=1' },
  'a path as a volume': { disks: [{ volume: '../disk0', bytes: 4096 }] },
  'two volumes of one name': { isoVolume: 'disk0' },
  'a line break in the command line': { kernel: { kernelVolume: 'k', append: 'a\nb' } },
  'another VMM': { vmm: 'other' },
  'too many disks': {
    disks: Array.from({ length: 17 }, (_, i) => ({ volume: `disk${i}`, bytes: 4096 }))
  }
}

for (const [what, changes] of Object.entries(BAD)) {
  test(`a machine with ${what} is refused`, async (t) => {
    await t.exception(() => checkMachine(machine(changes)), /cannot run/)
  })
}
