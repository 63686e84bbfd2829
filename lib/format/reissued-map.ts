/**
 * A reissued map: other places for the content of a version whose segments were rewritten. It is an annex: a sealed
 * block of kind `ANNEX`, named by a registry record, that counts only where it fits the version's own record.
 */
import { LOGS_PER_VERSION_MAX } from '../base/limits.ts'
import { defineDocument } from './document.ts'
import { bytes32, list, optional, struct, text, uint, type Codec } from './fields.ts'
import type { NodeRef } from './map.ts'
import type { LogRef } from './version.ts'

export const REISSUED_MAP_BYTES_MAX = 1024 * 1024
const VOLUMES_MAX = 64
const VOLUME_NAME_BYTES_MAX = 32

export interface ReissuedMap {
  /** Id of the version. */
  version: Buffer
  /** The version's table of logs, and more behind it: numbers in the maps count in this one. */
  logs: LogRef[]
  /** In the order of the version's record; the hash of a root is the content root, as it was. */
  volumes: { name: string; root: NodeRef | null }[]
}

const root: Codec<NodeRef> = struct<NodeRef>({ log: uint, block: uint, slot: uint, hash: bytes32 })

const DOCUMENT = defineDocument<ReissuedMap>({
  what: 'a reissued map',
  magic: 'HPRM',
  format: 1,
  bytesMax: REISSUED_MAP_BYTES_MAX,
  body: struct<ReissuedMap>({
    version: bytes32,
    logs: list(
      struct<LogRef>({ key: bytes32, length: uint, treeHash: bytes32 }),
      LOGS_PER_VERSION_MAX
    ),
    volumes: list(
      struct<ReissuedMap['volumes'][number]>({
        name: text(VOLUME_NAME_BYTES_MAX),
        root: optional(root)
      }),
      VOLUMES_MAX
    )
  })
})

/** Throws `FORMAT_INVALID` for what is too large. */
export function encodeReissuedMap(map: ReissuedMap): Buffer {
  return DOCUMENT.encode(map)
}

/** Throws `FORMAT_INVALID`, or `FORMAT_TOO_NEW` for one of a later release. */
export function decodeReissuedMap(data: Buffer): ReissuedMap {
  return DOCUMENT.decode(data)
}
