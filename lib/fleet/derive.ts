/**
 * Keys from keys: BLAKE2b-256 keyed with the parent, over a label and a context. Two labels never give the same
 * key, and no key is used for two things.
 */
import sodium from 'sodium-universal'
import { assert } from '../base/errors.ts'
import type { LogKeys } from '../chunk/segment.ts'

export const KEY_BYTES = 32

const PREFIX = 'hyperparcel 1 '

/** Every label of this project. */
export type Label =
  | 'registry'
  | 'topic'
  | 'wrap previous fleet key'
  | 'wrap dedup key'
  | 'wrap parcel key'
  | 'segment data'
  | 'segment ids'
  | 'meta'
  | 'local fleet file'
  | 'local invites'
  | 'local overlay'
  | 'invite pairing key'
  | 'lan hello'
  | 'lookaside stick'
  | 'recovery'

/** @param context fixed length for each label, so that no two inputs run together */
export function derive(parent: Buffer, label: Label, context: Buffer = EMPTY): Buffer {
  assert(parent.byteLength === KEY_BYTES, 'keys have 32 bytes')
  const key = Buffer.allocUnsafeSlow(KEY_BYTES)
  sodium.crypto_generichash_batch(key, [Buffer.from(`${PREFIX}${label}\0`), context], parent)
  return key
}

/** Hash of public things under a label: fleet ids, entry names, checksums. */
export function digest(label: string, ...parts: Buffer[]): Buffer {
  const hash = Buffer.allocUnsafeSlow(32)
  sodium.crypto_generichash_batch(hash, [Buffer.from(`${PREFIX}${label}\0`), ...parts])
  return hash
}

/** Seals registry records. */
export function registryKey(fleetKey: Buffer): Buffer {
  return derive(fleetKey, 'registry')
}

/** Where the fleet's members meet on the DHT. */
export function fleetTopic(fleetKey: Buffer): Buffer {
  return derive(fleetKey, 'topic')
}

/** Opens the data of a log's segments. */
export function segmentDataKey(parcelKey: Buffer, log: Buffer): Buffer {
  return derive(parcelKey, 'segment data', log)
}

/** Opens the chunk ids of a log's segments. */
export function segmentIdKey(parcelKey: Buffer, log: Buffer): Buffer {
  return derive(parcelKey, 'segment ids', log)
}

/** Opens a log's map nodes, version records and device state. */
export function metaKey(parcelKey: Buffer, log: Buffer): Buffer {
  return derive(parcelKey, 'meta', log)
}

/** All keys of one log of a parcel. */
export function logKeys(parcelKey: Buffer, log: Buffer): LogKeys {
  return {
    id: segmentIdKey(parcelKey, log),
    data: segmentDataKey(parcelKey, log),
    meta: metaKey(parcelKey, log)
  }
}

export function randomBytes(count: number): Buffer {
  const buffer = Buffer.allocUnsafeSlow(count)
  sodium.randombytes_buf(buffer)
  return buffer
}

/** Overwrites a secret that is no longer needed. */
export function wipe(...secrets: Buffer[]): void {
  for (const secret of secrets) sodium.sodium_memzero(secret)
}

const EMPTY = Buffer.alloc(0)
