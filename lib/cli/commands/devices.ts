import type { DeviceRow } from '../../daemon/api-devices.ts'
import type { CliCommand } from '../command.ts'
import { formatAge, formatBytes, formatTable } from '../ui/format.ts'

export const devices: CliCommand = {
  usage: 'devices',
  summary: 'list the devices and caches of the fleet',
  details:
    'SEEN: when this daemon was last connected to it; - where it was not since it started. PATH: the better one of two, where there are two. RECEIVED and SENT: blocks, since this daemon started.',
  example: 'hyperparcel devices',
  async run(context) {
    const result = await context.request('devices', {})
    const now = context.io.clock.now()
    const rows = result.devices.map((d) => [
      d.self ? `${d.name} (this one)` : d.name,
      d.role,
      seen(d, now),
      d.path === null ? '-' : d.path === 'lan' ? 'local network' : 'internet',
      d.rtt_ms === null ? '-' : `${d.rtt_ms.toFixed(d.rtt_ms < 10 ? 1 : 0)} ms`,
      moved(d.block_bytes_received, d.received_per_second),
      moved(d.block_bytes_sent, d.sent_per_second)
    ])
    const head = ['NAME', 'ROLE', 'SEEN', 'PATH', 'ROUND TRIP', 'RECEIVED', 'SENT']
    const notes = result.devices.flatMap(cacheNote)
    return { json: result, text: [formatTable(head, rows), ...notes].join('\n') }
  }
}

/** Since the daemon started, and now. */
function moved(bytes: number, perSecond: number): string {
  if (bytes === 0) return '-'
  return perSecond === 0
    ? formatBytes(bytes)
    : `${formatBytes(bytes)}, ${formatBytes(perSecond)}/s now`
}

function cacheNote({ name, quota_bytes, bytes_held, full }: DeviceRow): string[] {
  if (quota_bytes === undefined || bytes_held === undefined) return []
  const held = `${name} holds ${formatBytes(bytes_held)} of at most ${formatBytes(quota_bytes)}`
  return [full === true ? `${held}: too little for the newest versions` : held]
}

function seen(device: DeviceRow, now: number): string {
  if (device.self || device.online) return 'online'
  return device.last_seen === null ? '-' : formatAge(device.last_seen, now)
}
