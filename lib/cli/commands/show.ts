import type { CliCommand } from '../command.ts'
import { stateText } from '../state-text.ts'
import { formatAge, formatBytes, formatFields } from '../ui/format.ts'

export const show: CliCommand = {
  usage: 'show <name>',
  summary: 'show one parcel',
  example: 'hyperparcel show work',
  async run(context, [name]) {
    const result = await context.request('show', { name })
    const p = result.parcel
    const m = p.machine
    const state = stateText(p)
    const known = p.volumes.length > 0
    const text = formatFields([
      ['parcel', p.name],
      ['state', p.note === null ? state : `${state}: ${p.note}`],
      ['version', `${p.version} of ${p.versions}, ${formatAge(p.time, context.io.clock.now())}`],
      ['lease', `${p.holder ?? 'free'} (epoch ${p.epoch})`],
      ['here', `${formatBytes(p.bytes_local)} of ${formatBytes(p.bytes_total)}`],
      [
        'volumes',
        known
          ? p.volumes.map((v) => `${v.name} ${formatBytes(v.bytes)}`).join(', ')
          : 'not known here yet: they come with the data'
      ],
      [
        'machine',
        m.machine_type === ''
          ? null
          : `${m.machine_type}, ${m.cpus} × ${m.cpu_model}, ${formatBytes(m.memory_bytes)}`
      ],
      ['compression', `level ${p.compression}`],
      ['VMM', m.vmm === '' ? null : `${m.vmm} ${m.vmm_version} (${m.accel})`],
      ['serial console', p.serial],
      ['screen (VNC)', p.vnc]
    ])
    return { json: result, text }
  }
}
