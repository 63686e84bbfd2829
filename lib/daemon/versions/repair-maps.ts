/**
 * What was written anew here lies in a log that nobody else may have, so a bad block of it can often not be fetched.
 * But others may have the version in other places: then the own map is forgotten, and the version fetched by theirs.
 */
import { BlockSet } from '../../base/block-set.ts'
import type { AnnexInfo, VersionInfo } from '../../fleet/index.ts'
import type { VerifySummary } from '../../runner/protocol.ts'
import { Probe } from '../../parcel/mark.ts'
import { completeVersion, type CompleteContext } from './complete-version.ts'
import { nameOf } from './map-choice.ts'
import type { FleetNode } from '../node.ts'
import { idOf, usedVersions } from '../pruning/prune-plan.ts'
import { storedSource } from '../pruning/sweep.ts'

/** Of these versions, those that need what is bad, unless somebody works with them. Resolves with their number. */
export async function refetchByOtherMaps(
  node: FleetNode,
  versions: VersionInfo[],
  found: VerifySummary['bad'],
  context: CompleteContext
): Promise<number> {
  const bad = new BlockSet()
  for (const { log, block } of found) bad.add(Buffer.from(log, 'hex'), block)
  const probe = new Probe(storedSource(node), bad)
  let fetched = 0
  for (const info of versions) {
    const own = ownMap(node, info)
    if (own === null || usedVersions(node).has(idOf(info))) continue
    const place = { ...info, annex: own }
    // A map that can not be read is among what is bad.
    const needsIt = await probe.version(place).catch(() => true)
    if (!needsIt || !(await isHeldOtherwise(node, info, own))) continue
    await (await node.store.open(own.log)).clear(own.block, own.block + 1)
    node.versions.forget()
    await completeVersion(node, info, {}, context).catch(unlessUnreachable)
    fetched++
  }
  return fetched
}

function ownMap(node: FleetNode, { version }: VersionInfo): AnnexInfo | null {
  const self = node.identity.device.publicKey
  return node.registry.annexes(version).find(({ device }) => device.equals(self)) ?? null
}

/** Does a connected device have all of it, by another map than ours? */
async function isHeldOtherwise(
  node: FleetNode,
  info: VersionInfo,
  own: AnnexInfo
): Promise<boolean> {
  const peers = await node.replicas.maps(info)
  return peers.some(
    ({ holds, annex }) => holds && (annex === null || nameOf(annex) !== nameOf(own))
  )
}

function unlessUnreachable(err: unknown): void {
  if ((err as { code?: string }).code !== 'DATA_UNREACHABLE') throw err
}
