import type { DeviceRow } from '../../daemon/api.ts'
import type { CliCommand } from '../command.ts'
import { formatAge, formatTable } from '../ui/format.ts'

export const devices: CliCommand = {
  usage: 'devices',
  summary: 'list the devices and caches of the fleet',
  details: 'SEEN: when this daemon was last connected to it; - where it was not since it started.',
  example: 'hyperparcel devices',
  async run(context) {
    const result = await context.request('devices', {})
    const now = context.io.clock.now()
    const rows = result.devices.map((d) => [
      d.self ? `${d.name} (this one)` : d.name,
      d.role,
      seen(d, now),
      d.rtt_ms === null ? '-' : `${d.rtt_ms.toFixed(d.rtt_ms < 10 ? 1 : 0)} ms`
    ])
    return { json: result, text: formatTable(['NAME', 'ROLE', 'SEEN', 'ROUND TRIP'], rows) }
  }
}

function seen(device: DeviceRow, now: number): string {
  if (device.self || device.online) return 'online'
  return device.last_seen === null ? '-' : formatAge(device.last_seen, now)
}
