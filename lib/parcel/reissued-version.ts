/** A version read through a reissued map: the same content in other places. */
import { HyperparcelError } from '../base/errors.ts'
import { openBlock } from '../chunk/sealed-block.ts'
import { NODES_PER_BLOCK_MAX, type NodeRef } from '../format/map.ts'
import { REISSUED_MAP_BYTES_MAX, decodeReissuedMap } from '../format/reissued-map.ts'
import { KIND } from '../format/sealed.ts'
import type { VersionRecord } from '../format/version.ts'

/** Where a block is. */
export interface BlockPlace {
  log: Buffer
  block: number
}

/** The payload of the sealed block of a reissued map. Throws `DATA_CORRUPT`, `FORMAT_INVALID`, `FORMAT_TOO_NEW`. */
export function openReissuedMap(sealed: Buffer, place: BlockPlace, metaKey: Buffer): Buffer {
  return openBlock(KIND.ANNEX, sealed, place.log, place.block, metaKey, REISSUED_MAP_BYTES_MAX)
}

/**
 * The record of a version with the maps of `encoded` in place of its own. Its table of logs begins with that of the
 * record, and its volumes have the same names and content roots, else this throws `DATA_CORRUPT`.
 */
export function withReissuedMap(
  record: VersionRecord,
  version: Buffer,
  encoded: Buffer
): VersionRecord {
  const map = decodeReissuedMap(encoded)
  const { logs } = map
  const distinct = new Set(logs.map(({ key }) => key.toString('hex')))
  const fits =
    map.version.equals(version) &&
    map.volumes.length === record.volumes.length &&
    distinct.size === logs.length &&
    record.logs.every(({ key }, i) => logs[i]?.key.equals(key) === true) &&
    record.volumes.every(({ name, root }, i) => {
      const reissued = map.volumes[i]
      return reissued.name === name && sameContent(root, reissued.root, logs.length)
    })
  if (!fits) {
    throw new HyperparcelError('DATA_CORRUPT', 'A reissued map does not fit the version it names')
  }
  const volumes = record.volumes.map((volume, i) => ({ ...volume, root: map.volumes[i].root }))
  return { ...record, logs, volumes }
}

function sameContent(root: NodeRef | null, reissued: NodeRef | null, logs: number): boolean {
  if (root === null || reissued === null) return root === reissued
  const { log, block, slot, hash } = reissued
  if (log >= logs || block > 0xffff_ffff || slot >= NODES_PER_BLOCK_MAX) return false
  return hash.equals(root.hash)
}
