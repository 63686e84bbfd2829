/** rename and remove: what a parcel is called, and whether it is there at all. */
import { rm } from 'node:fs/promises'
import type { Params, Result } from '../api.ts'
import type { FleetNode } from '../node.ts'
import type { UseCaseContext } from './context.ts'
import { sweepRemoved } from './prune.ts'
import { takeLease } from './take-lease.ts'

export async function rename(node: FleetNode, params: Params<'rename'>): Promise<Result<'rename'>> {
  const { id } = node.parcel(params.name)
  await node.registry.renameParcel(id, params.to)
  return { parcel: node.registry.parcel(id)?.name ?? params.to }
}

/** Under the lease: nobody can be using it then. Blocks that others need stay: clones may reference them. */
export async function remove(
  node: FleetNode,
  params: Params<'remove'>,
  context: UseCaseContext
): Promise<Result<'remove'>> {
  const parcel = node.parcel(params.name)
  const release = node.runners.reserve(parcel)
  try {
    await takeLease(node, parcel, {}, context)
    await node.registry.append({ kind: 'parcel-removed', body: { parcel: parcel.id } })
    await rm(node.stateDirectory(parcel.id), { recursive: true, force: true })
    await rm(node.runDirectory(parcel.id), { recursive: true, force: true })
    return { parcel: parcel.name, bytes_freed: await swept(node, context) }
  } finally {
    release()
  }
}

/** It is gone whatever happens here; what is left goes with the next sweep. */
async function swept(node: FleetNode, { signal, progress }: UseCaseContext): Promise<number> {
  try {
    return await sweepRemoved(node, { signal, progress })
  } catch (err) {
    node.logger.warn({ err }, 'What a removed parcel had could not be given back yet')
    return 0
  }
}
