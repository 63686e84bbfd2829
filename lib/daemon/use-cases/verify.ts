/** verify: everything that is stored of versions, checked by a process of its own; bad blocks fetched again. */
import { HyperparcelError } from '../../base/errors.ts'
import type { ParcelInfo } from '../../fleet/index.ts'
import type { Params, Result } from '../api.ts'
import { checkVersions, type Named } from '../versions/checker.ts'
import { versionByNumber } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
import { refetchByOtherMaps } from '../versions/repair-maps.ts'
import { refetch } from '../versions/repair.ts'
import type { UseCaseContext } from './context.ts'

const FOUND_MAX = 1000

export async function verify(
  node: FleetNode,
  params: Params<'verify'>,
  context: UseCaseContext
): Promise<Result<'verify'>> {
  const versions = chosen(node, params)
  const first = await checkVersions(node, versions, context)
  let last = first
  if (params.repair && first.bad.length > 0) {
    await refetch(node, first.bad, context)
    last = await checkVersions(node, versions, context)
    const infos = versions.map(({ info }) => info)
    if (last.bad.length > 0 && (await refetchByOtherMaps(node, infos, last.bad, context)) > 0) {
      last = await checkVersions(node, versions, context)
    }
  }
  const still = new Set(last.bad.map(({ log, block }) => `${log}/${block}`))
  const found = first.bad.map((bad) => ({
    ...bad,
    repaired: !still.has(`${bad.log}/${bad.block}`)
  }))
  return {
    parcel: params.name ?? null,
    checked: last.checked,
    bytes_checked: last.bytes,
    missing: last.missing,
    bad: last.bad.length,
    repaired: found.filter(({ repaired }) => repaired).length,
    found: found.slice(0, FOUND_MAX)
  }
}

function chosen(node: FleetNode, { name, version }: Params<'verify'>): Named[] {
  if (name === undefined) {
    if (version === undefined) return node.registry.parcels().flatMap((p) => versionsOf(node, p))
    throw new HyperparcelError('USAGE', 'A version needs the name of its parcel')
  }
  const parcel = node.parcel(name)
  if (version === undefined) return versionsOf(node, parcel)
  return [{ info: versionByNumber(node, parcel, version), name: `${name}, version ${version}` }]
}

/** Newest first: what matters most is known first. Those of unknown logs cannot be stored here. */
function versionsOf(node: FleetNode, parcel: ParcelInfo): Named[] {
  return node.registry
    .versions(parcel.id)
    .filter(({ log }) => node.registry.logOwner(log) !== null)
    .map((info) => ({ info, name: `${parcel.name}, version ${info.number}` }))
    .toReversed()
}
