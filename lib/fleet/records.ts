/** Signing, checking and naming of registry records. A signature covers the fleet's id too. */
import type {
  RecordDraft,
  RecordKind,
  RecordOf,
  RegistryRecord,
  GenesisBody
} from '../format/registry.ts'
import { encodeRecord, signedPart } from '../format/registry.ts'
import { digest } from './derive.ts'
import type { KeyPair } from './sign.ts'
import { sign, verify } from './sign.ts'

const LABEL = 'registry record'
const NO_SIGNATURE = Buffer.alloc(64)

/** A record as it is stored, with its name: the hash of all its bytes, in hex. */
export interface StoredRecord {
  record: RegistryRecord
  bytes: Buffer
  hash: string
}

export function signRecord(
  fleet: Buffer,
  author: KeyPair,
  time: number,
  draft: RecordDraft
): StoredRecord {
  const record = {
    ...draft,
    author: author.publicKey,
    time,
    signature: NO_SIGNATURE
  } as RegistryRecord
  record.signature = sign(author, LABEL, fleet, signedPart(encodeRecord(record)))
  return stored(record)
}

export function stored(record: RegistryRecord): StoredRecord {
  const bytes = encodeRecord(record)
  return { record, bytes, hash: digest(LABEL, bytes).toString('hex') }
}

export function verifyRecord(fleet: Buffer, { record, bytes }: StoredRecord): boolean {
  return verify(record.author, record.signature, LABEL, fleet, signedPart(bytes))
}

/** The fleet that this is the first record of. */
export function fleetIdOf(author: Buffer, body: GenesisBody): Buffer {
  return digest('fleet', author, body.recoveryKey, body.nonce)
}

export function isKind<K extends RecordKind>(
  record: RegistryRecord,
  kind: K
): record is RegistryRecord & RecordOf<K> {
  return record.kind === kind
}

/** Which of two statements about one thing counts: the later one, by hash where the times are equal. */
export function laterOf(
  a: { time: number; hash: string },
  b: { time: number; hash: string }
): number {
  return a.time - b.time || (a.hash < b.hash ? -1 : a.hash > b.hash ? 1 : 0)
}
