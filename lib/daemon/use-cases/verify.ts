/** verify: everything that is stored of versions, checked by a process of its own; bad blocks fetched again. */
import { HyperparcelError } from '../../base/errors.ts'
import { FOUND } from '../../parcel/verify.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import type { Params, Result } from '../api.ts'
import { checkVersions, type Named } from '../versions/checker.ts'
import { versionByNumber } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
import { refetchByOtherMaps } from '../versions/repair-maps.ts'
import { refetch } from '../versions/repair.ts'
import type { Check } from '../versions/verified.ts'
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
  await note(node, last.found)
  const still = new Set(last.bad.map(({ log, block }) => `${log}/${block}`))
  const found = first.bad.map((bad) => ({
    ...bad,
    repaired: !still.has(`${bad.log}/${bad.block}`)
  }))
  const named = (flag: number) =>
    versions
      .filter(({ info }) => ((last.found.get(info) ?? 0) & flag) !== 0)
      .map(({ info }) => ({ parcel: parcelName(node, info), version: info.number }))
  return {
    parcel: params.name ?? null,
    checked: last.checked,
    bytes_checked: last.bytes,
    missing: last.missing,
    bad: last.bad.length,
    repaired: found.filter(({ repaired }) => repaired).length,
    bad_versions: named(FOUND.BAD),
    missing_versions: named(FOUND.MISSING),
    found: found.slice(0, FOUND_MAX)
  }
}

/** For `show`. What is not here was not checked. */
async function note(node: FleetNode, found: Map<VersionInfo, number>): Promise<void> {
  const known = new Set<string>()
  for (const { id } of node.registry.parcels()) {
    for (const { version } of node.registry.versions(id)) known.add(version.toString('hex'))
  }
  const checks = [...found].map(([info, flags]): [string, Check] => [
    info.version.toString('hex'),
    { time: Date.now(), bad: (flags & FOUND.BAD) !== 0 }
  ])
  await node.verified.note(checks, (version) => known.has(version))
}

function parcelName(node: FleetNode, info: VersionInfo): string {
  return node.registry.parcel(info.parcel)?.name ?? ''
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
