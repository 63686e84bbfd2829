/**
 * create --from: version 1 of a new parcel, with a key, a log and a lease of its own, whose disks are those of
 * another parcel's version. Its record references their maps where they are: nothing is copied.
 */
import { HyperparcelError } from '../../base/errors.ts'
import { leaseHash } from '../../lease/index.ts'
import { clonedMachine } from '../../vmm/identity.ts'
import type { MachineConfig } from '../../vmm/driver.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import type { Params, Result } from '../api.ts'
import { completeVersion } from '../versions/complete-version.ts'
import { headVersion, versionByNumber } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
import { writeVersion } from '../versions/write-version.ts'
import type { UseCaseContext } from './context.ts'

export async function clone(
  node: FleetNode,
  params: Params<'create'>,
  context: UseCaseContext
): Promise<Result<'create'>> {
  const info = sourceOf(node, params)
  const unpin = node.versions.pin(info)
  try {
    return await cloneOf(node, info, params, context)
  } finally {
    unpin()
  }
}

async function cloneOf(
  node: FleetNode,
  info: VersionInfo,
  params: Params<'create'>,
  context: UseCaseContext
): Promise<Result<'create'>> {
  await completeVersion(node, info, { withoutMemory: true }, { ...context, why: 'create' })
  const { record } = await node.versions.open(info, { local: true })
  context.signal.throwIfAborted()
  const level = params.compression ?? node.registry.parcel(info.parcel)?.compressionLevel
  const { id } = await node.registry.createParcel(params.name, level)
  try {
    const lease = await node.leases.create(id, null)
    const bytesStored = await writeVersion(node, {
      ...record,
      parcel: id,
      number: 1,
      parent: null,
      lease: leaseHash(lease.body),
      author: node.identity.device.publicKey,
      time: Date.now(),
      message: `from ${params.from!.parcel}, version ${info.number}`,
      cause: 'clone',
      volumes: record.volumes.filter((volume) => volume.name !== 'memory'),
      state: null,
      machine: ownMachine(record.machine, params),
      bytesNew: 0,
      bytesStored: 0
    })
    return { parcel: params.name, version: 1, bytes_read: 0, bytes_stored: bytesStored }
  } catch (err) {
    await node.registry.append({ kind: 'parcel-removed', body: { parcel: id } })
    throw err
  }
}

function sourceOf(node: FleetNode, { from }: Params<'create'>): VersionInfo {
  const parcel = node.parcel(from!.parcel)
  if (from!.version !== undefined) return versionByNumber(node, parcel, from!.version)
  const head = headVersion(node, parcel.id)
  if (head !== null) return head
  throw new HyperparcelError('VERSION_NOT_FOUND', `${parcel.name} has no version yet`)
}

function ownMachine(machine: string | null, params: Params<'create'>): string | null {
  if (machine === null) return null
  const { memoryBytes, cpus } = params
  const changes = {
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(cpus === undefined ? {} : { cpus })
  }
  return JSON.stringify(clonedMachine(JSON.parse(machine) as MachineConfig, changes))
}
