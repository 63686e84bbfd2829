import type { CliCommand } from '../command.ts'
import { stateText } from '../state-text.ts'
import { formatAge, formatBytes, formatTable } from '../ui/format.ts'

export const ls: CliCommand = {
  usage: 'ls',
  summary: 'list the parcels',
  details:
    'STATE: "new" never ran, "off" boots next time, "suspended" goes on where it was; "on DEVICE" where another device has the lease. HERE: how much of the newest version is stored on this device.',
  example: 'hyperparcel ls',
  async run(context) {
    const result = await context.request('ls', {})
    if (result.parcels.length === 0) {
      return { json: result, text: 'No parcels yet: see `hyperparcel help create`.' }
    }
    const now = context.io.clock.now()
    const rows = result.parcels.map((p) => [
      p.name,
      stateText(p),
      p.version,
      formatAge(p.time, now),
      p.holder ?? '-',
      formatBytes(p.bytes_local),
      formatBytes(p.bytes_total)
    ])
    const head = ['NAME', 'STATE', 'VERSION', 'MADE', 'LEASE', 'HERE', 'SIZE']
    const notes = result.parcels.flatMap((p) => (p.note === null ? [] : [`${p.name}: ${p.note}`]))
    return { json: result, text: [formatTable(head, rows), ...notes].join('\n') }
  }
}
