import type { StatsResult } from '../../daemon/api-versions.ts'
import type { CliCommand } from '../command.ts'
import {
  count,
  formatBytes,
  formatDuration,
  formatFields,
  formatTable,
  printable
} from '../ui/format.ts'
import { sharesText } from '../ui/shares.ts'

export const stats: CliCommand = {
  usage: 'stats [name]',
  summary: 'counters of a parcel, or of all',
  details:
    'Of the parcel, or of all: versions and what deduplication and compression save, and what running ones have not stored yet: at least, for the guest has more in RAM that it has not written back. Of this device, whatever the parcel: its store, what is being fetched, and what came from whom since the daemon started.',
  example: 'hyperparcel stats work',
  async run(context, [name]) {
    const s = await context.request('stats', { name })
    if (s.caches !== undefined) return { json: s, text: ofCache(s) }
    const subject = s.parcel ?? 'all parcels'
    const text = [
      section(subject, [
        ['versions', `${s.versions}, of ${count(s.parcels, 'parcel')}`],
        ['as if each were whole', formatBytes(s.bytes_total)],
        ['really new', `${formatBytes(s.bytes_new)}, stored as ${formatBytes(s.bytes_packed)}`],
        ['deduplication', s.dedup_ratio === null ? null : `${s.dedup_ratio} : 1`],
        ['newest versions here', formatBytes(s.bytes_local)],
        ...s.running.map((r): [string, string] => [
          `${r.parcel} (${r.state})`,
          `at least ${formatBytes(r.dirty_bytes)} in no version yet (${formatBytes(r.ahead_bytes)} stored ahead), ${formatBytes(r.bytes_fetched)} fetched; ${r.faults} reads waited for other devices, ${formatDuration(r.stalled_ms)} in all`
        ])
      ]),
      section('this device, all parcels', [
        [
          'store',
          `${formatBytes(s.bytes_stored)}, ${count(s.chunks_indexed, 'chunk')} in ${count(s.logs, 'log')}`
        ],
        ...s.transfers.map((transfer): [string, string] => [
          `fetching ${transfer.parcel}`,
          transferText(transfer)
        ])
      ])
    ]
    if (s.sources.length > 0) text.push(sourceTable(s.sources))
    return { json: s, text: text.join('\n\n') }
  }
}

function section(title: string, fields: [string, string | number | null][]): string {
  return `${printable(title)}\n${formatFields(fields).replaceAll(/^/gm, '  ')}`
}

function transferText(transfer: StatsResult['transfers'][number]): string {
  const { version, why, bytes_done: done, bytes_total: total } = transfer
  const parts = [`version ${version} (${why})`, `${formatBytes(done)} of ${formatBytes(total)}`]
  if (transfer.per_second !== null) parts.push(`${formatBytes(transfer.per_second)}/s`)
  if (transfer.eta_ms !== null && transfer.eta_ms > 0) {
    parts.push(`${formatDuration(transfer.eta_ms)} left`)
  }
  if (transfer.sources.length > 0) parts.push(`from ${sharesText(transfer.sources)}`)
  return parts.join(', ')
}

function sourceTable(sources: StatsResult['sources']): string {
  const rows = sources.map((source) => [
    source.name,
    source.kind,
    formatBytes(source.bytes_received),
    `${formatBytes(source.received_per_second)}/s`,
    formatBytes(source.bytes_sent),
    `${formatBytes(source.sent_per_second)}/s`
  ])
  const head = ['BLOCKS WITH', 'KIND', 'RECEIVED', 'NOW', 'SENT', 'NOW']
  return formatTable(head, rows)
}

function ofCache(s: StatsResult): string {
  return formatFields([
    ['versions held', `${s.versions}, of ${count(s.parcels, 'parcel')}`],
    ['they take', formatBytes(s.bytes_packed)],
    ['store', `${formatBytes(s.bytes_stored)} in ${count(s.logs, 'log')}`]
  ])
}
