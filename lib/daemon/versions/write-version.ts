/**
 * Versions that the daemon makes by itself: their content is stored already, under another number or in another
 * parcel. Only a record is written; no data is opened.
 */
import { HyperparcelError } from '../../base/errors.ts'
import { LOGS_PER_VERSION_MAX } from '../../base/limits.ts'
import { sealBlock } from '../../chunk/sealed-block.ts'
import { KIND } from '../../format/sealed.ts'
import { encodeVersion, versionId, type VersionRecord } from '../../format/version.ts'
import { announceVersion } from './announce.ts'
import type { FleetNode } from '../node.ts'

/**
 * Appends the record, makes it durable and announces it. The tables of logs of `record` must be those that its
 * maps were made for: log numbers in maps count in it. Resolves with the bytes that it took.
 * Rejects with `DATA_UNREACHABLE` when it references anything that is not stored here, durably.
 */
export async function writeVersion(node: FleetNode, record: VersionRecord): Promise<number> {
  const log = await node.ownLog(record.parcel)
  const logs = [...record.logs]
  if (!logs.some((ref) => ref.key.equals(log.key))) {
    if (logs.length >= LOGS_PER_VERSION_MAX) {
      throw new HyperparcelError('TOO_MANY_LOGS', 'A version references too many logs')
    }
    const treeHash = await log.treeHash(log.length)
    logs.push({ key: log.key, length: log.length, treeHash })
  }
  const encoded = encodeVersion({ ...record, logs })
  const { meta } = node.keysOf(log.key)
  const block = log.length
  const sealed = sealBlock(KIND.VERSION, encoded, log.key, block, meta, node.registry.keyring.epoch)
  if ((await log.append([sealed])) !== block) {
    throw new HyperparcelError('COMMIT_STALE', 'Another version of the parcel is being made', {
      hint: 'Nothing was changed: try again.'
    })
  }
  await node.store.flush()
  const params = {
    version: versionId(encoded).toString('hex'),
    number: record.number,
    parent: record.parent?.toString('hex') ?? null,
    lease: record.lease?.toString('hex') ?? null,
    time: record.time,
    message: record.message,
    cause: record.cause,
    bytesNew: record.bytesNew,
    bytesStored: record.bytesStored,
    hasMemory: record.state !== null
  }
  await announceVersion(node, record.parcel, params, log.key, block)
  return sealed.byteLength
}
