import type { CliCommand } from '../command.ts'
import { count, formatBytes, formatFields, formatTable } from '../ui/format.ts'

export const stats: CliCommand = {
  usage: 'stats [name]',
  summary: 'counters of a parcel, or of all',
  details:
    'Versions and what deduplication and compression save, what is stored here, what came from which device since the daemon started, and what running parcels have not stored yet: at least, for the guest has more in RAM that it has not written back.',
  example: 'hyperparcel stats work',
  async run(context, [name]) {
    const s = await context.request('stats', { name })
    const fields = formatFields([
      ['versions', `${s.versions}, of ${count(s.parcels, 'parcel')}`],
      ['as if each were whole', formatBytes(s.bytes_total)],
      ['really new', `${formatBytes(s.bytes_new)}, stored as ${formatBytes(s.bytes_packed)}`],
      ['deduplication', s.dedup_ratio === null ? null : `${s.dedup_ratio} : 1`],
      ['newest versions here', formatBytes(s.bytes_local)],
      [
        'store',
        `${formatBytes(s.bytes_stored)}, ${count(s.chunks_indexed, 'chunk')} in ${count(s.logs, 'log')}`
      ],
      ...s.running.map((r): [string, string] => [
        `${r.parcel} (${r.state})`,
        `at least ${formatBytes(r.dirty_bytes)} in no version yet (${formatBytes(r.ahead_bytes)} stored ahead), ${formatBytes(r.bytes_fetched)} fetched`
      ])
    ])
    if (s.peers.length === 0) return { json: s, text: fields }
    const rows = s.peers.map((p) => [
      p.name,
      p.blocks_received,
      formatBytes(p.block_bytes_received),
      p.blocks_sent,
      formatBytes(p.block_bytes_sent)
    ])
    const table = formatTable(['DEVICE', 'BLOCKS IN', 'BYTES IN', 'BLOCKS OUT', 'BYTES OUT'], rows)
    return { json: s, text: `${fields}\n\n${table}` }
  }
}
