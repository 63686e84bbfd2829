import { able, type Check } from '../../base/check.ts'
import { examineDevice } from '../../daemon/doctor.ts'
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
    'Checks the VMM, KVM, FUSE, the network, the clock and the space. Needs no daemon and changes nothing.',
  example: 'hyperparcel doctor',
  async run(context) {
    const checks = await examineDevice(context.home)
    const lines = checks.flatMap((check) => {
      const line = `${SIGNS[check.state]} ${check.name}: ${printable(check.found)}`
      return check.hint === undefined ? [line] : [line, `          ${check.hint}`]
    })
    lines.push('', able(checks) ? 'This machine is able.' : 'Something is missing, see above.')
    return { json: { able: able(checks), checks }, text: lines.join('\n') }
  }
}
