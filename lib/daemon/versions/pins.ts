/** What this device asks caches to hold: its whole versions, by what each needs besides the newer ones of its parcel. */
import { BlockSet } from '../../base/block-set.ts'
import { HyperparcelError } from '../../base/errors.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import { PIN_LOGS_MAX, PIN_RUNS_MAX, type PinEntry, type PinList } from '../../format/pin-list.ts'
import { Marker } from '../../parcel/mark.ts'
import type { FleetNode } from '../node.ts'
import { sizeOf, storedSource } from '../pruning/sweep.ts'

/** Of one parcel, the newest. */
const VERSIONS_MAX = 64

export type PinContent = Pick<PinList, 'logs' | 'entries'>

export interface Pins extends PinContent {
  /** Equal for equal content. */
  name: string
}

interface Pinned {
  info: VersionInfo
  /** Among its parcel's: 0 for the newest. */
  rank: number
  annex: { log: Buffer; block: number } | null
  bytes: number
  blocks: BlockSet
  /** Resume packs among them, by their heads. */
  packs: string[]
}

export async function composePins(node: FleetNode): Promise<Pins> {
  const pinned: Pinned[] = []
  for (const { id } of node.registry.parcels()) {
    const infos = node.registry.versions(id).toReversed().slice(0, VERSIONS_MAX)
    pinned.push(...(await pinsOf(node, infos)))
  }
  pinned.sort((a, b) => a.rank - b.rank || b.info.time - a.info.time)
  const table = new LogNumbers()
  const entries = pinned.map(({ info, annex, bytes, blocks }) => ({
    version: info.version,
    parcel: info.parcel,
    time: info.time,
    bytes,
    annex: annex && { log: table.of(annex.log), block: annex.block },
    runs: [...blocks.runs()].map(({ log, start, end }) => ({
      log: table.of(log),
      start,
      count: end - start
    }))
  }))
  const name = pinned.map(({ info, annex, packs }) => {
    const map = annex === null ? '' : `${annex.log.toString('hex')}/${annex.block}`
    return [info.version.toString('hex'), map, ...packs].join('+')
  })
  return { name: name.join(), logs: table.logs, entries }
}

/** As many of the newest as fit. Rejects only when nothing fits. */
export function encodePins(
  { logs, entries }: PinContent,
  bytesMax: number,
  encode: (content: PinContent) => Buffer
): Buffer {
  let some = entries.filter(({ runs }) => runs.length <= PIN_RUNS_MAX)
  for (;;) {
    // A run takes three bytes at least.
    const runs = some.reduce((sum, entry) => sum + entry.runs.length, 0)
    try {
      if (3 * runs <= bytesMax) return encode(onlyUsed({ logs, entries: some }))
    } catch (err) {
      if (some.length === 0 || (err as { code?: string }).code !== 'FORMAT_INVALID') throw err
    }
    if (some.length === 0) throw new HyperparcelError('FORMAT_INVALID', 'A pin list is too large')
    some = some.slice(0, Math.floor(some.length * 0.8))
  }
}

async function pinsOf(node: FleetNode, infos: VersionInfo[]): Promise<Pinned[]> {
  const local = await node.versions.local(infos)
  const marker = new Marker(storedSource(node))
  const pinned: Pinned[] = []
  for (const [i, info] of infos.entries()) {
    const { whole, annex } = local[i]
    if (!whole) continue
    const before = new BlockSet()
    before.addAll(marker.needed)
    const { version, log, block } = info
    await marker.version({ version, log, block, annex })
    const blocks = new BlockSet()
    blocks.addAll(marker.needed)
    blocks.removeAll(before)
    const packs = pinned.length === 0 ? await addPacks(node, info, blocks) : []
    const bytes = await sizeOf(node, blocks)
    pinned.push({ info, rank: pinned.length, annex, bytes, blocks, packs })
  }
  return pinned
}

/** Of a parcel's newest version: a resume from a cache starts with them. */
async function addPacks(node: FleetNode, info: VersionInfo, blocks: BlockSet): Promise<string[]> {
  const packs = await node.packs.whole(info)
  for (const pack of packs) for (const block of pack.blocks) blocks.add(pack.log, block)
  return packs.map((pack) => `${pack.log.toString('hex')}/${pack.blocks[0]}`)
}

/** Numbers logs as they are first named. */
class LogNumbers {
  readonly logs: Buffer[] = []
  readonly #numbers = new Map<string, number>()

  of(log: Buffer): number {
    const name = log.toString('hex')
    let number = this.#numbers.get(name)
    if (number === undefined) {
      number = this.logs.push(log) - 1
      this.#numbers.set(name, number)
    }
    return number
  }
}

/** Without logs that no entry names. */
function onlyUsed({ logs, entries }: PinContent): PinContent {
  const table = new LogNumbers()
  const used: PinEntry[] = entries.map((entry) => ({
    ...entry,
    annex: entry.annex && { ...entry.annex, log: table.of(logs[entry.annex.log]) },
    runs: entry.runs.map((run) => ({ ...run, log: table.of(logs[run.log]) }))
  }))
  if (table.logs.length <= PIN_LOGS_MAX) return { logs: table.logs, entries: used }
  throw new HyperparcelError('FORMAT_INVALID', 'A pin list names too many logs')
}
