/** A version whose record is durable becomes known to the fleet. */
import type { VersionBody } from '../../format/registry.ts'
import { HyperparcelError, assert } from '../../base/errors.ts'
import type { PublishParams } from '../../runner/protocol.ts'
import type { FleetNode } from '../node.ts'

/** Durable on return. Rejects when the version references anything that is not stored here, durably. */
export async function announceVersion(
  node: FleetNode,
  parcel: Buffer,
  params: PublishParams,
  log: Buffer,
  block: number
): Promise<void> {
  assert(params.lease !== null, 'a version is made under a lease')
  const body: VersionBody = {
    parcel,
    version: Buffer.from(params.version, 'hex'),
    number: params.number,
    parent: params.parent === null ? null : Buffer.from(params.parent, 'hex'),
    lease: Buffer.from(params.lease, 'hex'),
    log,
    block,
    message: params.message,
    bytesNew: params.bytesNew,
    bytesTotal: 0,
    hasMemory: params.hasMemory,
    branch: null
  }
  const info = { ...body, device: node.identity.device.publicKey, time: params.time }
  const { bytesTotal, missing } = await node.versions.holdings(info, { local: true })
  if (missing.length > 0) {
    throw new HyperparcelError(
      'DATA_UNREACHABLE',
      'A version would reference blocks that are not stored here'
    )
  }
  body.bytesTotal = bytesTotal
  await node.registry.append({ kind: 'version', body })
}
