/** What pruning a parcel deletes here: which versions stay, and which blocks nobody needs. */
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import { Marker, Probe } from '../../parcel/mark.ts'
import type { BlockSet } from '../../base/block-set.ts'
import { headVersion } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
import { keptVersions } from './retention.ts'
import { KeptPlaces } from './kept-places.ts'
import {
  mark,
  sizeOf,
  spareCommits,
  storedIn,
  storedSource,
  type Placed,
  type Work
} from './sweep.ts'

/** What is asked and known before the versions to keep are chosen. */
export interface KeepFacts {
  /** How many of the newest stay. */
  keep: number
  /** Id (hex) of the newest version of which all is stored here. */
  newestWhole: string | null
  /** Ids (hex) of versions that other devices need from here. */
  alsoInUse?: string[]
}

export interface PrunePlan {
  keep: VersionInfo[]
  /** Not kept, and losing something. */
  drop: VersionInfo[]
  blocks: BlockSet
  /** About what comes back. */
  bytes: number
}

/**
 * @param parcel null: no version goes, only what is left of removed parcels
 * With `doom`, nobody may use from then on what goes: call `lift` at the end.
 */
export async function planPrune(
  node: FleetNode,
  parcel: ParcelInfo | null,
  facts: KeepFacts & { doom: boolean },
  work: Work
): Promise<PrunePlan> {
  const blocks = await storedIn(node, sweptLogs(node, parcel))
  const marker = new Marker(storedSource(node))
  const ways = new KeptPlaces(node)
  const marked = new Set<string>()
  let kept: Set<string>
  // Versions are made and opened meanwhile. What the last look finds holds until the end of its turn.
  for (;;) {
    kept = parcel === null ? new Set() : keptNow(node, parcel, facts)
    const used = usedVersions(node)
    const nameOf = (info: VersionInfo) => `${idOf(info)}${used.has(idOf(info)) ? ' used' : ''}`
    const fresh = neededVersions(node, parcel, kept).filter((info) => !marked.has(nameOf(info)))
    if (fresh.length === 0) break
    const placed: Placed[] = []
    for (const info of fresh) {
      placed.push({ info, places: await ways.of(info, used.has(idOf(info))) })
    }
    await mark(node, marker, placed, work)
    for (const info of fresh) {
      for (const { log, blocks } of await node.packs.stored(info)) {
        for (const block of blocks) marker.needed.add(log, block)
      }
    }
    for (const info of fresh) marked.add(nameOf(info))
  }
  const versions = parcel === null ? [] : node.registry.versions(parcel.id)
  const others = versions.filter((info) => !kept.has(idOf(info)))
  for (const info of versions) marker.needed.add(info.log, info.block)
  blocks.removeAll(marker.needed)
  spareCommits(node, blocks)
  if (facts.doom) {
    node.doomed = blocks
    node.versions.doom(new Set(others.map(idOf)))
  }
  try {
    const keep = versions.filter((info) => kept.has(idOf(info)))
    const drop = await losers(node, ways, others, blocks, work)
    return { keep, drop, blocks, bytes: await sizeOf(node, blocks) }
  } catch (err) {
    if (facts.doom) lift(node)
    throw err
  }
}

/** What is left may be used again. */
export function lift(node: FleetNode): void {
  node.doomed = null
  node.versions.doom(new Set())
}

/** Ids (hex) of the versions that stay, as things are now. */
export function keptNow(node: FleetNode, { id }: ParcelInfo, facts: KeepFacts): Set<string> {
  const line = new Set<string>()
  let entry = node.leases.chain(id).head
  const start = entry?.entry.body.version ?? null
  for (; entry !== null; entry = entry.predecessor) line.add(entry.hash.toString('hex'))
  const inUse = new Set([...(facts.alsoInUse ?? []), ...usedVersions(node)])
  for (const version of [start, headVersion(node, id)?.version ?? null]) {
    if (version !== null) inUse.add(version.toString('hex'))
  }
  return keptVersions({
    versions: node.registry.versions(id),
    keep: facts.keep,
    isOnLine: (lease) => line.has(lease.toString('hex')),
    inUse,
    newestWhole: facts.newestWhole
  })
}

/** Ids (hex) of versions that somebody works with here. */
export function usedVersions(node: FleetNode): Set<string> {
  return new Set([...node.runners.versions(), ...node.versions.pinned()])
}

export function idOf({ version }: VersionInfo): string {
  return version.toString('hex')
}

/** Logs of the parcel, and of parcels that were removed. */
export function sweptLogs(node: FleetNode, parcel: ParcelInfo | null): Buffer[] {
  return node.registry
    .parcelLogs()
    .filter(
      ({ parcel: owner }) => (parcel !== null && owner.equals(parcel.id)) || isRemoved(node, owner)
    )
    .map(({ log }) => log)
}

/** Its record is known, and so is its removal. */
function isRemoved(node: FleetNode, parcel: Buffer): boolean {
  return node.registry.creatorOf(parcel) !== null && node.registry.parcel(parcel) === null
}

/** All versions of other parcels, those to keep of this one, and what is open of removed ones. */
export function neededVersions(
  node: FleetNode,
  pruned: ParcelInfo | null,
  kept: Set<string>
): VersionInfo[] {
  const open = usedVersions(node)
  const owners = new Map(node.registry.parcelLogs().map((log) => [log.parcel.toString('hex'), log]))
  return [...owners.values()].flatMap(({ parcel }) => {
    const versions = node.registry.versions(parcel)
    if (pruned?.id.equals(parcel) === true) return versions.filter((info) => kept.has(idOf(info)))
    return isRemoved(node, parcel) ? versions.filter((info) => open.has(idOf(info))) : versions
  })
}

/** Versions that need a block that goes. */
async function losers(
  node: FleetNode,
  ways: KeptPlaces,
  versions: VersionInfo[],
  blocks: BlockSet,
  { signal }: Work
): Promise<VersionInfo[]> {
  const probe = new Probe(storedSource(node), blocks)
  const found: VersionInfo[] = []
  for (const info of versions) {
    try {
      for (const place of await ways.of(info, false)) {
        if (!(await probe.version(place, () => signal.throwIfAborted()))) continue
        found.push(info)
        break
      }
    } catch (err) {
      const { code } = err as { code?: string }
      if (code === 'KEY_MISSING') continue
      // Damaged: whatever is left of it is worth little.
      if (code !== 'DATA_CORRUPT' && code !== 'FORMAT_INVALID') throw err
      found.push(info)
    }
  }
  return found
}
