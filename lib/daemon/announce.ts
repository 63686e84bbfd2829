/** A version whose record is durable becomes known to the fleet. */
import type { VersionBody } from '../format/registry.ts'
import { assert } from '../base/errors.ts'
import type { PublishParams } from '../runner/protocol.ts'
import type { FleetNode } from './node.ts'

/** Durable on return. */
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
  body.bytesTotal = (await node.versions.closure(info, { local: true })).bytes
  await node.registry.append({ kind: 'version', body })
}
