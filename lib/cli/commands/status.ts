import type { CliCommand } from '../command.ts'
import type { CacheRow } from '../../daemon/api-cache.ts'
import { warnOfLowSpace } from '../low-space.ts'
import { orderText } from '../order-text.ts'
import { formatBytes, formatFields, shortKey } from '../ui/format.ts'

export const status: CliCommand = {
  usage: 'status',
  summary: 'show this device at a glance',
  details:
    "Stored is the whole store on the disk: the parcels' data, the logs of the fleet, and the database around them, which has some size without any parcel too.",
  example: 'hyperparcel status',
  async run(context) {
    const result = await context.request('status', {})
    const text = formatFields([
      ['device', result.device],
      ['fleet', result.fleet === null ? null : shortKey(result.fleet)],
      ['role', result.role],
      ['home', result.home],
      ['online', result.online.length === 0 ? 'no other device' : result.online.join(', ')],
      ...(result.caches ?? []).map(cacheField),
      ['running', result.running.length === 0 ? 'nothing' : result.running.join(', ')],
      [
        'orders',
        result.orders.length === 0
          ? null
          : result.orders.map((order) => `${order.parcel} ${orderText(order)}`).join(', ')
      ],
      ['stored', `${formatBytes(result.bytes_stored)}, ${formatBytes(result.bytes_free)} free`]
    ])
    for (const { author, parcel } of result.conflicts ?? []) {
      const of = parcel === null ? 'what it tells the fleet' : parcel
      context.note(conflictText(author ?? 'A device', of))
    }
    warnOfLowSpace(context, result.low_space)
    return { json: result, text }
  }
}

function cacheField(cache: CacheRow): [string, string] {
  const held = `${formatBytes(cache.bytes_held)} of at most ${formatBytes(cache.quota_bytes)}`
  const versions = `${cache.versions} of ${cache.versions_listed} versions`
  const over = cache.full ? `; the newest ones need ${formatBytes(cache.bytes_over)} more` : ''
  return [`for ${shortKey(cache.fleet)}`, `${held}, ${versions}${over}`]
}

function conflictText(author: string, of: string): string {
  return `${author} has signed two histories of its log of ${of}: its home was copied or set back to an older state, and both copies went on. This device keeps the first that it saw, and the proof.`
}
