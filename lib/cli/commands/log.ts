import type { VersionRow } from '../../daemon/api.ts'
import type { CliCommand } from '../command.ts'
import { formatAge, formatBytes, formatTable } from '../ui/format.ts'

export const log: CliCommand = {
  usage: 'log <name>',
  summary: 'list the versions of a parcel',
  details:
    'VERSION: "7 (after 3)" goes on from version 3, not from the one before. KIND: "boots" has no memory image. NEW: what it added; HERE: what of it is stored on this device; a version that was pruned keeps what others need. REPLICAS: how many other devices are known to hold all of it.',
  example: 'hyperparcel log work',
  async run(context, [name]) {
    const result = await context.request('log', { name })
    const now = context.io.clock.now()
    const rows = result.versions.map((v) => [
      v.parent === null || v.parent === v.version - 1
        ? String(v.version)
        : `${v.version} (after ${v.parent})`,
      v.device,
      formatAge(v.time, now),
      kind(v),
      formatBytes(v.bytes_new),
      here(v),
      v.replicas,
      v.message
    ])
    const head = ['VERSION', 'DEVICE', 'MADE', 'KIND', 'NEW', 'HERE', 'REPLICAS', 'MESSAGE']
    return { json: result, text: formatTable(head, rows) }
  }
}

function here({ complete, bytes_local: local, bytes_total: total }: VersionRow): string {
  if (complete) return `all ${formatBytes(total)}`
  return local === 0 ? 'nothing' : `${formatBytes(local)} of ${formatBytes(total)}`
}

function kind({ memory, cause }: VersionRow): string {
  if (!memory) return 'boots'
  if (cause === null) return 'with memory' // its record is not here
  return cause === 'checkpoint' ? 'checkpoint' : 'suspended'
}
