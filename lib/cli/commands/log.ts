import type { CliCommand } from '../command.ts'
import { formatAge, formatBytes, formatTable } from '../ui/format.ts'

export const log: CliCommand = {
  usage: 'log <name>',
  summary: 'list the versions of a parcel',
  example: 'hyperparcel log work',
  async run(context, [name]) {
    const result = await context.request('log', { name })
    const now = context.io.clock.now()
    const rows = result.versions.map((v) => [
      v.version,
      v.device,
      formatAge(v.time, now),
      v.memory ? 'suspended' : 'boots',
      formatBytes(v.bytes_new),
      `${formatBytes(v.bytes_local)} of ${formatBytes(v.bytes_total)}`,
      v.replicas,
      v.message
    ])
    const head = ['VERSION', 'DEVICE', 'MADE', 'KIND', 'NEW', 'HERE', 'REPLICAS', 'MESSAGE']
    return { json: result, text: formatTable(head, rows) }
  }
}
