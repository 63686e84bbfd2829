/** suspend --to: the lease goes to another device, with a new version or after one that was made before. */
import { HyperparcelError } from '../../base/errors.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import { headVersion } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
import type { UseCaseContext } from './context.ts'
import { sayWhile } from './say-while.ts'
import { crashed } from './settle-leftovers.ts'

/** Public key of the device that `--to` names; null without it. Throws `DEVICE_NOT_FOUND` or `USAGE`. */
export function recipient(node: FleetNode, name: string | undefined): Buffer | null {
  if (name === undefined) return null
  const device = node.registry.deviceByName(name)
  const names = node.registry
    .devices()
    .filter(({ removed, role }) => !removed && role === 'device')
    .map((known) => known.name)
  if (device === null || device.role !== 'device') {
    throw new HyperparcelError('DEVICE_NOT_FOUND', `There is no device called ${name}`, {
      hint: `There are: ${names.join(', ')}.`
    })
  }
  if (!device.publicKey.equals(node.identity.device.publicKey)) return device.publicKey
  const others = names.filter((other) => other !== device.name)
  throw new HyperparcelError('USAGE', `${name} is this very device: nothing was done`, {
    hint:
      others.length === 0
        ? 'Without --to the lease stays here. There is no other device yet: see `hyperparcel help invite`.'
        : `Without --to the lease stays here. Other devices: ${others.join(', ')}.`
  })
}

/** Gives the lease away, durably; true where its new holder has it already. */
export async function handOver(
  node: FleetNode,
  parcel: ParcelInfo,
  to: Buffer,
  version: Buffer | null,
  context: Pick<UseCaseContext, 'progress'>
): Promise<boolean> {
  await node.leases.grant(parcel.id, to, version)
  return deliver(node, parcel, to, context)
}

/** Likewise, of what was given before. */
export function deliver(
  node: FleetNode,
  parcel: ParcelInfo,
  to: Buffer,
  context: Pick<UseCaseContext, 'progress'>
): Promise<boolean> {
  const name = node.registry.nameOf(to)
  return sayWhile(context, `giving the lease to ${name}`, [name], () =>
    node.peerApi.deliverLease(to, parcel.id)
  )
}

export interface Made {
  info: VersionInfo
  /** Its lease went to that device before. */
  given: boolean
}

/**
 * The version that a suspend of a parcel which does not run here is about: under this device's lease, or the one that
 * was given to `to` already; where only replicas are wanted, any that is wholly here. Null where there is none. Rejects
 * with `CRASH_CHOICE` where changes are in no version yet.
 */
export async function madeBefore(
  node: FleetNode,
  parcel: ParcelInfo,
  to: Buffer | null,
  replicas: number
): Promise<Made | null> {
  if (node.runners.get(parcel.id) !== null || (to === null && replicas === 0)) return null
  const info = headVersion(node, parcel.id)
  if (info === null) return null
  if (node.leases.mayResume(parcel.id).ok) {
    if (await node.hasLeftovers(parcel.id)) throw crashed(parcel.name)
    return { info, given: false }
  }
  const head = node.leases.chain(parcel.id).head?.entry.body
  const given = to !== null && head?.released === false && head.holder.equals(to)
  if (!given && to !== null) return null
  return (await node.versions.holds(info)) ? { info, given } : null
}
