/** Which version of a parcel is the newest one on its line, and what the next one says of itself. */
import { HyperparcelError } from '../../base/errors.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import { mayWrite } from '../../lease/index.ts'
import type { CommitParams } from '../../runner/protocol.ts'
import type { FleetNode } from '../node.ts'
import type { Runner } from '../runners/runners.ts'

/** The newest version under the lease's head, else the one that it starts from; null when none is known here. */
export function headVersion(node: FleetNode, parcel: Buffer): VersionInfo | null {
  const versions = node.registry.versions(parcel)
  const head = node.leases.chain(parcel).head
  if (head === null) return versions.at(-1) ?? null
  const under = versions.filter((version) => version.lease.equals(head.hash))
  if (under.length > 0) return under.at(-1)!
  const start = head.entry.body.version
  if (start === null) return versions.at(-1) ?? null
  return versions.find((version) => version.version.equals(start)) ?? null
}

/** Throws `VERSION_NOT_FOUND`. */
export function versionByNumber(node: FleetNode, parcel: ParcelInfo, number: number): VersionInfo {
  const found = node.registry.versions(parcel.id).findLast((version) => version.number === number)
  if (found !== undefined) return found
  const newest = node.registry.versions(parcel.id).at(-1)?.number ?? 0
  throw new HyperparcelError('VERSION_NOT_FOUND', `${parcel.name} has no version ${number}`, {
    hint: newest === 0 ? 'It has none yet.' : `Versions go from 1 to ${newest}.`
  })
}

/**
 * What the next version of a parcel in use says of itself. Throws `LEASE_SUPERSEDED` when this device may not
 * write it any more.
 */
export function commitParams(
  node: FleetNode,
  runner: Pick<Runner, 'parcel' | 'status'>,
  cause: string,
  message: string
): CommitParams {
  const self = node.identity.device.publicKey
  const chain = node.leases.chain(runner.parcel)
  const head = chain.head
  if (head === null || !mayWrite(chain, self, head.hash)) {
    throw new HyperparcelError('LEASE_SUPERSEDED', 'This device does not hold the lease any more', {
      hint: 'Another device continued the parcel. See `hyperparcel lease`.'
    })
  }
  const newest = node.registry.versions(runner.parcel).at(-1)?.number ?? 0
  return {
    number: newest + 1,
    parent:
      runner.status?.version ?? headVersion(node, runner.parcel)?.version.toString('hex') ?? null,
    lease: head.hash.toString('hex'),
    author: self.toString('hex'),
    time: Date.now(),
    message,
    cause
  }
}
