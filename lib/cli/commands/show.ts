import type { CliCommand } from '../command.ts'
import { orderText } from '../order-text.ts'
import { stateText } from '../state-text.ts'
import type { ParcelDetail } from '../../daemon/api.ts'
import { versionList } from '../ui/version-list.ts'
import { formatAge, formatBytes, formatFields } from '../ui/format.ts'

/** What is missing for working without a network. */
function offlineText({ version, complete, bytes_missing: missing }: ParcelDetail): string | null {
  if (version === 0) return null
  if (complete) return 'all of it is here: it works without a network'
  const bytes = missing === 0 ? 'some bytes' : formatBytes(missing)
  return `${bytes} missing for working without a network`
}

function heldBy({ replicas, author, complete }: ParcelDetail, now: number): string | null {
  const names = replicas.map(({ device, online, confirmed }) =>
    online ? device : `${device} (at last contact, ${formatAge(confirmed, now)})`
  )
  if (names.length > 0) return `${names.join(', ')}${complete ? ': safe to leave' : ''}`
  if (!complete) return author === null ? null : `${author} made it, and was not asked yet`
  return 'no other device, as far as is known here: not safe to leave'
}

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
      ['offline', offlineText(p)],
      ['held by', heldBy(p, context.io.clock.now())],
      ['orders', p.orders.length === 0 ? null : p.orders.map(orderText).join(', ')],
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
      ['BAD', badText(p.name, p.bad_versions, context.io.clock.now())],
      ['compression', `level ${p.compression}`],
      ['VMM', m.vmm === '' ? null : `${m.vmm} ${m.vmm_version} (${m.accel})`],
      ['serial console', p.serial],
      ['screen (VNC)', p.vnc]
    ])
    return { json: result, text }
  }
}

function badText(name: string, bad: ParcelDetail['bad_versions'], now: number): string | null {
  if (bad.length === 0) return null
  const newest = bad
    .map(({ time }) => time)
    .sort()
    .at(-1)!
  const found = `data of ${versionList(bad.map(({ version }) => version))} did not verify (found ${formatAge(newest, now)})`
  return `${found}: hyperparcel verify ${name} --repair`
}
