/** What tells one VM from another that is otherwise the same. */
import { randomBytes, randomUUID } from 'node:crypto'
import type { MachineConfig } from './driver.ts'

/** A locally administered address with QEMU's prefix. */
export function randomMac(): string {
  const tail = [...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, '0'))
  return ['52', '54', '00', ...tail].join(':')
}

/** The machine of a clone: another network address, and its guest learns that it is a copy. */
export function clonedMachine(
  machine: MachineConfig,
  changes: Partial<Pick<MachineConfig, 'memoryBytes' | 'cpus'>>
): MachineConfig {
  return { ...rolledBackMachine(machine), ...changes, macAddress: randomMac() }
}

/** The same machine whose guest learns that it was set back, so that it makes no random number twice. */
export function rolledBackMachine(machine: MachineConfig): MachineConfig {
  return { ...machine, vmGenId: randomUUID() }
}
