/** What can be wrong with a VM when somebody wants something of it. */
import { HyperparcelError } from '../base/errors.ts'
import type { RunnerState } from './protocol.ts'

export function memoryLost(cause?: unknown): HyperparcelError {
  return new HyperparcelError('MEMORY_LOST', 'Guest memory could not be written back', {
    hint: 'No version with memory can be made of this run. Shut the guest down from inside.',
    cause
  })
}

export function busy(): HyperparcelError {
  return new HyperparcelError('PARCEL_BUSY', 'The parcel is being suspended or started already', {
    hint: 'Wait until that is done.'
  })
}

export function runsNot(state: RunnerState, reason: string | null): HyperparcelError {
  const gone = state === 'gone'
  const what = gone ? 'The parcel does not run any more' : 'The VM is still being started'
  return new HyperparcelError('PARCEL_NOT_RUNNING', what, {
    hint: reason ?? 'Try again in a moment; `hyperparcel ls` tells what it does.'
  })
}

export function waitsForData(cause: unknown): HyperparcelError {
  return new HyperparcelError('DATA_UNREACHABLE', 'The VM waits for data that is not here yet', {
    hint: 'It runs on. Connect to a device that has its data, then suspend again.',
    cause
  })
}
