import type { CliCommand } from '../command.ts'
import type { HeldRow } from '../../daemon/api-cache.ts'
import { stateText } from '../state-text.ts'
import { formatAge, formatBytes, formatTable, shortKey } from '../ui/format.ts'

/** On a cache: it knows neither names nor numbers. */
function heldText(held: HeldRow[], now: number): string {
  if (held.length === 0) return 'No device has listed a version to be held here yet.'
  const rows = held.map((h) => [
    shortKey(h.fleet),
    shortKey(h.parcel),
    shortKey(h.version),
    formatAge(h.time, now),
    formatBytes(h.bytes_local),
    formatBytes(h.bytes_total),
    h.complete ? 'all' : h.bytes_local === 0 ? '-' : 'in part'
  ])
  return formatTable(['FLEET', 'PARCEL', 'VERSION', 'MADE', 'HERE', 'SIZE', 'HELD'], rows)
}

export const ls: CliCommand = {
  usage: 'ls',
  summary: 'list the parcels',
  details:
    'STATE: "suspended" goes on where it was, "(off)" and "(new)" boot next time; "elsewhere": another device has the lease. HERE: how much of the newest version is stored on this device. On a cache: the versions that devices want held there, by the ids of fleet, parcel and version.',
  example: 'hyperparcel ls',
  async run(context) {
    const result = await context.request('ls', {})
    if (result.held !== undefined) {
      return { json: result, text: heldText(result.held, context.io.clock.now()) }
    }
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
