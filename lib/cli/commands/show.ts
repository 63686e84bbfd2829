import type { CliCommand } from '../command.ts'
import { formatAge, formatBytes, formatFields } from '../ui/format.ts'

export const show: CliCommand = {
  usage: 'show <name>',
  summary: 'show one parcel',
  example: 'hyperparcel show work',
  async run(context, [name]) {
    const result = await context.request('show', { name })
    const p = result.parcel
    const m = p.machine
    const text = formatFields([
      ['parcel', p.name],
      ['state', p.note === null ? p.state : `${p.state}: ${p.note}`],
      ['version', `${p.version} of ${p.versions}, ${formatAge(p.time, context.io.clock.now())}`],
      ['lease', `${p.holder ?? 'free'} (epoch ${p.epoch})`],
      ['here', `${formatBytes(p.bytes_local)} of ${formatBytes(p.bytes_total)}`],
      ['volumes', p.volumes.map((v) => `${v.name} ${formatBytes(v.bytes)}`).join(', ')],
      ['machine', `${m.machine_type}, ${m.cpus} × ${m.cpu_model}, ${formatBytes(m.memory_bytes)}`],
      ['VMM', `${m.vmm} ${m.vmm_version} (${m.accel})`],
      ['serial console', p.serial],
      ['screen (VNC)', p.vnc]
    ])
    return { json: result, text }
  }
}
