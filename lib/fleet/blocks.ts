/** Records as blocks of a registry log: sealed under the registry key, key epochs in the clear. */
import { HyperparcelError } from '../base/errors.ts'
import { ANY_INDEX } from '../chunk/place.ts'
import { openBlock, sealBlock } from '../chunk/sealed-block.ts'
import { RECORD_BYTES_MAX, decodeRecord } from '../format/registry.ts'
import { BLOCK_HEADER_BYTES, KIND, readBlockHeader, writeBlockHeader } from '../format/sealed.ts'
import type { Keyring } from './keyring.ts'
import type { StoredRecord } from './records.ts'
import { stored } from './records.ts'

export function toBlock({ record, bytes }: StoredRecord, log: Buffer, keyring: Keyring): Buffer {
  if (record.kind !== 'key-epoch') {
    return sealBlock(KIND.REGISTRY, bytes, log, ANY_INDEX, keyring.registryKey, keyring.epoch)
  }
  const block = Buffer.allocUnsafeSlow(BLOCK_HEADER_BYTES + bytes.byteLength)
  writeBlockHeader(block, KIND.KEY_EPOCH, record.body.epoch)
  bytes.copy(block, BLOCK_HEADER_BYTES)
  return block
}

/**
 * `locked`: its key is not known here yet. Null: a kind of a later release.
 * Throws `FORMAT_INVALID`, `FORMAT_TOO_NEW`, `DATA_CORRUPT`.
 */
export function fromBlock(
  block: Buffer,
  log: Buffer,
  keyring: Keyring
): StoredRecord | 'locked' | null {
  const { kind, keyEpoch } = readBlockHeader(block)
  if (kind === KIND.KEY_EPOCH) {
    const record = decodeRecord(Buffer.from(block.subarray(BLOCK_HEADER_BYTES)))
    if (record !== null && record.kind !== 'key-epoch') {
      throw new HyperparcelError('FORMAT_INVALID', 'A registry record lies open that should not')
    }
    return record && stored(record)
  }
  const keys = keyring.registryKeys(keyEpoch)
  if (keys.length === 0) return 'locked'
  const record = decodeRecord(openWithOneOf(keys, block, log))
  return record && stored(record)
}

function openWithOneOf(keys: readonly Buffer[], block: Buffer, log: Buffer): Buffer {
  for (let i = 0; ; i++) {
    try {
      return openBlock(KIND.REGISTRY, block, log, ANY_INDEX, keys[i], RECORD_BYTES_MAX)
    } catch (err) {
      if (i === keys.length - 1) throw err
    }
  }
}
