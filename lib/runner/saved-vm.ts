/** What of a stopped VM goes into its version, besides its volumes. */
import type { Readable } from 'node:stream'
import { HyperparcelError } from '../base/errors.ts'
import { DEVICE_STATE_BYTES_MAX } from '../base/limits.ts'
import type { MachineConfig } from '../vmm/driver.ts'

/** The machine as JSON, for a version; `kernelPending`: the guest has not loaded its kernel yet. */
export function machineWith(machine: MachineConfig, kernelPending: boolean): string {
  if (machine.kernel === undefined) return JSON.stringify(machine)
  const { pending: _, ...kernel } = machine.kernel
  return JSON.stringify({
    ...machine,
    kernel: kernelPending ? { ...kernel, pending: true } : kernel
  })
}

/** Device state as it streams out of the VMM. Rejects with `STATE_TOO_LARGE`. */
export async function collectState(stream: Readable): Promise<Buffer[]> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of stream as AsyncIterable<Buffer>) {
    bytes += piece.byteLength
    if (bytes > DEVICE_STATE_BYTES_MAX) {
      throw new HyperparcelError('STATE_TOO_LARGE', 'The device state is too large to be stored')
    }
    pieces.push(piece)
  }
  return pieces
}
