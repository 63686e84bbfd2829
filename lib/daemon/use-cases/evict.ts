/**
 * evict: gives the space of a parcel's data back, where another connected device has it.
 *
 * Invariants
 * - Each version that loses blocks here is held by a connected device (no cache), all of it and durably, which it says while
 *   this device vouches for nothing: of two that evict at once, each asking the other, at least one refuses. But for one
 *   that was pruned here: of it only blocks go that such versions have too.
 * - Blocks that a version of another parcel needs stay (clones, deduplicated chunks), and so do records and maps:
 *   they are small, and say what is missing. Of a map that was issued anew here, only its first block goes: nobody
 *   else may have what it names.
 */
import { HyperparcelError } from '../../base/errors.ts'
import { CHUNK_BYTES } from '../../base/limits.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import type { VersionRecord } from '../../format/version.ts'
import { Marker, type RecordPlace } from '../../parcel/mark.ts'
import type { Params, Result } from '../api.ts'
import { BlockSet } from '../../base/block-set.ts'
import type { FleetNode } from '../node.ts'
import {
  damaged,
  drop,
  giveBack,
  mark,
  spareCommits,
  storedSource,
  whileDropping,
  type Placed
} from '../pruning/sweep.ts'
import type { UseCaseContext } from './context.ts'
import { endFollowing } from './hoard.ts'
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
    node.proactive.settle(parcel)
    const before = await diskUsage(node.paths.store)
    await endFollowing(node, parcel) // else it would come back at once
    node.follower.forget()
    const dropped = await whileDropping(node, async () => {
      context.progress({ phase: 'looking for what others have' })
      const needed = await neededByOthers(node, parcel.id, context)
      const blocks = new BlockSet()
      const rests: { info: VersionInfo; found: BlockSet }[] = []
      for (const info of node.registry.versions(parcel.id)) {
        const found = await stored(node, info, needed)
        if (found.size === 0) continue
        if (await node.versions.holds(info)) {
          await refuseLastCopy(node, parcel.name, info)
          blocks.addAll(found)
        } else {
          rests.push({ info, found })
        }
      }
      // No version needs its packs, and nobody counts on them.
      for (const info of node.registry.versions(parcel.id)) {
        for (const pack of await node.packs.stored(info)) {
          for (const block of pack.blocks) blocks.add(pack.log, block)
        }
      }
      for (const { info, found } of rests) {
        // What a prune left of a version belongs to others too.
        const own = new BlockSet()
        own.addAll(found)
        own.removeAll(blocks)
        if (own.size === 0) continue
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
    return {
      parcel: parcel.name,
      bytes_freed: Math.max(0, before - (await diskUsage(node.paths.store))),
      blocks_dropped: dropped,
      bytes_fetched: 0,
      bytes_missing: await bytesMissing(node, parcel.id)
    }
  } finally {
    release()
  }
}

/** Blocks with data of the version that are stored here and that nothing else needs. */
async function stored(node: FleetNode, info: VersionInfo, needed: BlockSet): Promise<BlockSet> {
  const found = new BlockSet()
  const ways = await node.versions.closures(info)
  for (const { record, closure } of ways) {
    for (const [number, blocks] of closure.logs) {
      const { key } = record.logs[number]
      const log = await node.store.open(key)
      for (const [block, chunks] of blocks) {
        if (chunks === 0 && !isState(record, number, block)) continue
        if (!needed.has(key, block) && (await log.has(block))) found.add(key, block)
      }
    }
  }
  if (found.size > 0) forgetOwnMap(node, info, found)
  return found
}

/** It counts as a promise that all it names is here. Others read the version by maps of theirs. */
function forgetOwnMap(node: FleetNode, info: VersionInfo, drop: BlockSet): void {
  const self = node.identity.device.publicKey
  for (const { device, log, block } of node.registry.annexes(info.version)) {
    if (device.equals(self)) drop.add(log, block)
  }
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
  const versions: Placed[] = []
  for (const info of others.flatMap(({ id }) => node.registry.versions(id))) {
    versions.push({ info, places: await placesOf(node, info) })
  }
  await mark(node, marker, versions, context)
  return marker.needed
}

async function placesOf(node: FleetNode, info: VersionInfo): Promise<RecordPlace[]> {
  try {
    return await node.versions.places(info)
  } catch (err) {
    throw damaged(node, info, err)
  }
}

/** Of all versions together, each chunk once, what is not stored here. */
async function bytesMissing(node: FleetNode, parcel: Buffer): Promise<number> {
  const chunks = new Map<string, number>()
  let bytes = 0
  for (const info of node.registry.versions(parcel)) {
    const [by] = await node.versions.closures(info)
    if (by === undefined) {
      bytes += info.bytesNew // its maps are not here: about that
      continue
    }
    for (const [number, blocks] of by.closure.logs) {
      const log = await node.store.open(by.record.logs[number].key)
      const stored = await log.durableTest()
      for (const [block, used] of blocks) {
        const name = `${log.key.toString('hex')}/${block}`
        if (!stored(block)) chunks.set(name, Math.max(used, chunks.get(name) ?? 0))
      }
    }
  }
  for (const used of chunks.values()) bytes += used * CHUNK_BYTES
  return bytes
}

/** Rejects with `LAST_COPY` unless a connected device says now that it has all of the version. */
async function refuseLastCopy(node: FleetNode, name: string, info: VersionInfo): Promise<void> {
  const params = { parcel: info.parcel.toString('hex'), version: info.version.toString('hex') }
  // What a cache has stays only as long as it has room, and a device lists it.
  const devices = node.network.peers().filter(({ publicKey }) => !node.isCache(publicKey))
  const asked = devices.map(({ publicKey }) =>
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
    {
      hint: `${online}. Let another device fetch all of it first, there: \`hyperparcel hoard ${name} --version ${info.number}\`.`,
      context: { parcel: name, version: info.number }
    }
  )
}
