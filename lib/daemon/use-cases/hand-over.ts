/** suspend --to: the lease goes to another device, with a new version or after one that was made before. */
import { HyperparcelError } from '../../base/errors.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import { headVersion } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
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
  version: Buffer
): Promise<boolean> {
  await node.leases.grant(parcel.id, to, version)
  return node.peerApi.deliverLease(to, parcel.id)
}

/**
 * The newest version of a parcel that is suspended here under this device's lease; null where that is not so.
 * Rejects with `CRASH_CHOICE` where changes are in no version yet.
 */
export async function suspendedHere(
  node: FleetNode,
  parcel: ParcelInfo
): Promise<VersionInfo | null> {
  if (node.runners.get(parcel.id) !== null || !node.leases.mayResume(parcel.id).ok) return null
  if (await node.hasLeftovers(parcel.id)) throw crashed(parcel.name)
  return headVersion(node, parcel.id)
}
