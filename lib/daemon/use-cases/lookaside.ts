/** lookaside: what lies nearby and is used, and sticks to be filled. */
import type { Params, Result } from '../api.ts'
import type { LookasideRow, LookasideState } from '../api-lookaside.ts'
import { fillStick } from '../lookaside/fill.ts'
import type { Entry } from '../lookaside/lookaside.ts'
import type { FleetNode } from '../node.ts'
import type { UseCaseContext } from './context.ts'

export async function lookasideAdd(
  node: FleetNode,
  { path }: Params<'lookaside.add'>,
  context: UseCaseContext
): Promise<Result<'lookaside.add'>> {
  return rowOf(node, await node.lookaside.add(path, context))
}

export async function lookasideFill(
  node: FleetNode,
  { path, name }: Params<'lookaside.fill'>,
  context: UseCaseContext
): Promise<Result<'lookaside.fill'>> {
  const { version, bytes, written } = await fillStick(node, { path, name }, context)
  return { parcel: name, version: version.number, path, bytes, bytes_written: written, hits: 0 }
}

export async function lookasideLs(node: FleetNode): Promise<Result<'lookaside.ls'>> {
  await node.lookaside.look()
  const lookaside = node.lookaside.list().map((entry) => rowOf(node, entry))
  const sum = (of: (row: LookasideRow) => number) => lookaside.reduce((all, r) => all + of(r), 0)
  return { lookaside, bytes: sum((row) => row.bytes), hits: sum((row) => row.hits) }
}

export async function lookasideRemove(
  node: FleetNode,
  { path }: Params<'lookaside.remove'>
): Promise<Result<'lookaside.remove'>> {
  return rowOf(node, await node.lookaside.remove(path))
}

function rowOf(node: FleetNode, { path, auto, found }: Entry): LookasideRow {
  const sticks = found?.sticks ?? []
  const hits = node.lookaside.hits(path)
  const parcels = sticks.flatMap(({ version }) => {
    if (version === null) return []
    const parcel = node.registry.parcel(Buffer.from(version.parcel, 'hex'))
    return parcel === null ? [] : [{ parcel: parcel.name, version: version.number }]
  })
  return {
    path,
    kind: kindOf(node, path, found),
    state: isSeed(node, path, found) ? 'ready' : stateOf(node, found),
    auto,
    parcels,
    bytes: sticks.reduce((sum, { bytes }) => sum + bytes, found?.bytes ?? 0),
    hits: hits.blocks,
    bytes_used: hits.bytes,
    note: isSeed(node, path, found) ? null : noteOf(node, found)
  }
}

/** An image or a directory, indexed. Where a stick was mounted, an empty folder is left: that is none. */
function isSeed(node: FleetNode, path: string, found: Entry['found']): boolean {
  if (found === null || found.kind === null || found.kind === 'stick') return false
  return node.lookaside.usableSeeds.some((seed) => seed.path === path)
}

function kindOf(node: FleetNode, path: string, found: Entry['found']): LookasideRow['kind'] {
  return found?.kind === 'stick' || isSeed(node, path, found) ? found!.kind : null
}

function stateOf(node: FleetNode, found: Entry['found']): LookasideState {
  // Where a stick was mounted, an empty folder is left.
  if (found?.kind !== 'stick') return 'absent'
  if (found.note !== null) return 'damaged'
  return found.sticks.some((stick) => node.lookaside.isBad(stick)) ? 'damaged' : 'ready'
}

function noteOf(node: FleetNode, found: Entry['found']): string | null {
  if (found?.kind !== 'stick') return found?.note ?? null
  if (found.note !== null) return found.note
  if (found.sticks.some((stick) => node.lookaside.isBad(stick))) {
    return 'some of it does not verify and comes from elsewhere; fill it again'
  }
  if (found.sticks.some(({ version }) => version === null)) return 'filled in part'
  if (found.sticks.length === 0 && found.foreign > 0) return 'filled by another fleet: not used'
  return found.sticks.length === 0 ? 'nothing on it' : null
}
