import { EXIT } from '../../base/errors.ts'
import { able, type Check } from '../../base/check.ts'
import type { CliCommand } from '../command.ts'
import { printable } from '../ui/format.ts'

const SIGNS: Record<Check['state'], string> = {
  ok: 'ok     ',
  slow: 'slow   ',
  missing: 'MISSING',
  unknown: '?      '
}

export const doctor: CliCommand = {
  usage: 'doctor',
  summary: 'check whether this machine is able',
  details:
    'Checks the VMM, KVM, FUSE, the network, the clock and the space. Needs no daemon and changes nothing. Ends with 1 when something is missing.',
  example: 'hyperparcel doctor',
  async run(context) {
    // Loaded here: no other command needs to know of VMMs.
    const { examineDevice } = await import('../../daemon/doctor.ts')
    const checks = await examineDevice(context.home)
    const lines = checks.flatMap((check) => {
      const line = `${SIGNS[check.state]} ${check.name}: ${printable(check.found)}`
      return check.hint === undefined ? [line] : [line, `          ${check.hint}`]
    })
    lines.push('', able(checks) ? 'This machine is able.' : 'Something is missing, see above.')
    const text = lines.join('\n')
    if (able(checks)) return { json: { able: true, checks }, text }
    const missing = checks.filter(({ state }) => state === 'missing').map(({ name }) => name)
    const error = {
      code: 'NOT_ABLE',
      message: `Missing on this machine: ${missing.join(', ')}`,
      hint: 'Each check has a hint of its own.'
    }
    return { json: { able: false, checks, error }, text, exitCode: EXIT.FAILED }
  }
}
