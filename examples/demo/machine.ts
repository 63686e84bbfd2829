/** Asks `hyperparcel doctor` before anything is started. */
import { HyperparcelError } from '../../lib/base/errors.ts'
import type { DoctorResult } from '../../lib/daemon/api.ts'
import type { Device } from './device.ts'

/** Rejects with `MACHINE_UNABLE` and what to do about it. */
export async function checkMachine(device: Device): Promise<void> {
  const { able, checks } = (await device.run<DoctorResult>('doctor')).result
  if (able) return
  const missing = checks.filter(({ state }) => state === 'missing')
  throw new HyperparcelError(
    'MACHINE_UNABLE',
    `The demo cannot run here:\n${missing.map(({ found }) => `  ${found}`).join('\n')}`,
    { hint: missing.map(({ hint }) => `  ${hint ?? ''}`).join('\n') }
  )
}
