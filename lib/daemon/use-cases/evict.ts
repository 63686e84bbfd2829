/**
 * evict: gives the space of a parcel's data back, where another connected device has it.
 *
 * Invariants
 * - Each version that loses blocks here is held by a connected device, all of it and durably, which it says while
 *   this device vouches for nothing: of two that evict at once, each asking the other, at least one refuses.
 * - Blocks that a version of another parcel needs stay (clones, deduplicated chunks), and so do records and maps:
 *   they are small, and say what is missing.
 */
import { HyperparcelError } from '../../base/errors.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import type { VersionRecord } from '../../format/version.ts'
import type { Closure } from '../../parcel/closure.ts'
import { Marker } from '../../parcel/mark.ts'
import type { Params, Result } from '../api.ts'
import { BlockSet } from '../../base/block-set.ts'
import { headVersion } from '../heads.ts'
import type { FleetNode } from '../node.ts'
import { drop, giveBack, mark, spareCommits, storedSource, whileDropping } from '../sweep.ts'
import type { UseCaseContext } from './context.ts'
import { diskUsage } from './status.ts'

const ASK_TIMEOUT_MS = 10_000

export async function evict(
  node: FleetNode,
  params: Params<'evict'>,
  context: UseCaseContext
): Promise<Result<'evict'>> {
  const parcel = node.parcel(params.name)
  const release = node.runners.reserve(parcel)
  try {
    const before = await diskUsage(node.paths.store)
    const dropped = await whileDropping(node, async () => {
      context.progress({ phase: 'looking for what others have' })
      const needed = await neededByOthers(node, parcel.id, context)
      const blocks = new BlockSet()
      for (const info of node.registry.versions(parcel.id)) {
        const found = await stored(node, info, needed)
        if (found.size === 0) continue
        await refuseLastCopy(node, parcel.name, info)
        blocks.addAll(found)
      }
      spareCommits(node, blocks)
      node.doomed = blocks
      try {
        await drop(node, blocks, context)
      } finally {
        node.doomed = null
      }
      return blocks.size
    })
    if (dropped > 0) await giveBack(node, context)
    const head = headVersion(node, parcel.id)
    const held = head === null ? null : await holdings(node, head)
    return {
      parcel: parcel.name,
      bytes_freed: Math.max(0, before - (await diskUsage(node.paths.store))),
      blocks_dropped: dropped,
      bytes_missing: held === null ? (head?.bytesTotal ?? 0) : held.bytesTotal - held.bytesLocal
    }
  } finally {
    release()
  }
}

/** Blocks with data of the version that are stored here and that nothing else needs. */
async function stored(node: FleetNode, info: VersionInfo, needed: BlockSet): Promise<BlockSet> {
  const found = new BlockSet()
  const known = await closureIfHere(node, info)
  if (known === null) return found
  const { record, closure } = known
  for (const [number, blocks] of closure.logs) {
    const { key } = record.logs[number]
    const log = await node.store.open(key)
    for (const [block, chunks] of blocks) {
      if (chunks === 0 && !isState(record, number, block)) continue
      if (!needed.has(key, block) && (await log.has(block))) found.add(key, block)
    }
  }
  return found
}

function isState({ state }: VersionRecord, log: number, block: number): boolean {
  if (state === null || state.log !== log) return false
  return block >= state.firstBlock && block < state.firstBlock + state.blocks
}

async function neededByOthers(
  node: FleetNode,
  evicted: Buffer,
  context: UseCaseContext
): Promise<BlockSet> {
  const others = node.registry.parcels().filter(({ id }) => !id.equals(evicted))
  const marker = new Marker(storedSource(node))
  await mark(
    node,
    marker,
    others.flatMap(({ id }) => node.registry.versions(id)),
    context
  )
  return marker.needed
}

async function closureIfHere(
  node: FleetNode,
  info: VersionInfo
): Promise<{ record: VersionRecord; closure: Closure } | null> {
  try {
    const { record } = await node.versions.open(info, { local: true })
    return { record, closure: await node.versions.closure(info, { local: true }) }
  } catch (err) {
    const { code } = err as { code?: string }
    if (code === 'DATA_UNREACHABLE' || code === 'KEY_MISSING') return null
    throw err
  }
}

async function holdings(node: FleetNode, info: VersionInfo) {
  return (await closureIfHere(node, info)) && node.versions.holdings(info, { local: true })
}

/** Rejects with `LAST_COPY` unless a connected device says now that it has all of the version. */
async function refuseLastCopy(node: FleetNode, name: string, info: VersionInfo): Promise<void> {
  const params = { parcel: info.parcel.toString('hex'), version: info.version.toString('hex') }
  const asked = node.network.peers().map(({ publicKey }) =>
    node.network
      .call<{ holds: boolean }>(publicKey, 'holds', params, { timeoutMs: ASK_TIMEOUT_MS })
      .then(
        ({ holds }) => holds === true,
        () => false
      )
  )
  if ((await Promise.all(asked)).includes(true)) return
  const online = asked.length === 0 ? 'No other device is connected' : 'No connected device has it'
  throw new HyperparcelError(
    'LAST_COPY',
    `This may be the last copy of version ${info.number} of ${name}: nothing was dropped`,
    { hint: `${online}. Let another device fetch all of it first.` }
  )
}
