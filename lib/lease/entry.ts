/** Naming and signing of lease entries. */
import { assert } from '../base/errors.ts'
import { digest } from '../fleet/derive.ts'
import type { KeyPair } from '../fleet/sign.ts'
import { sign, verify } from '../fleet/sign.ts'
import type { LeaseBody, LeaseEntry, LeaseSignature } from '../format/lease.ts'
import { encodeLeaseBody } from '../format/lease.ts'

const LABEL = 'lease entry'

/** The entry's name, 32 bytes: a hash of its body, so signatures do not change it. */
export function leaseHash(body: LeaseBody): Buffer {
  return digest(LABEL, encodeLeaseBody(body))
}

/** An entry with that signature (in place of an older one by the same signer). */
export function signLease(entry: LeaseEntry | LeaseBody, keys: KeyPair): LeaseEntry {
  const { body, signatures } = 'body' in entry ? entry : { body: entry, signatures: [] }
  const signature = sign(keys, LABEL, leaseHash(body))
  return { body, signatures: merge(signatures, [{ signer: keys.publicKey, signature }]) }
}

/** Did that key sign the entry? */
export function isSignedBy(entry: LeaseEntry, signer: Buffer): boolean {
  const hash = leaseHash(entry.body)
  return entry.signatures.some(
    (s) => s.signer.equals(signer) && verify(signer, s.signature, LABEL, hash)
  )
}

/** One entry with the valid signatures of both. */
export function mergeSignatures(a: LeaseEntry, b: LeaseEntry): LeaseEntry {
  const hash = leaseHash(a.body)
  assert(hash.equals(leaseHash(b.body)), 'signatures of one entry')
  const valid = (s: LeaseSignature): boolean => verify(s.signer, s.signature, LABEL, hash)
  return { body: a.body, signatures: merge(a.signatures.filter(valid), b.signatures.filter(valid)) }
}

/** Public keys in the order in which an entry has them, each once. */
export function sortedKeys(keys: Buffer[]): Buffer[] {
  const sorted = [...keys].sort((a, b) => a.compare(b))
  return sorted.filter((key, i) => i === 0 || !key.equals(sorted[i - 1]))
}

function merge(a: LeaseSignature[], b: LeaseSignature[]): LeaseSignature[] {
  const bySigner = new Map<string, LeaseSignature>()
  for (const s of [...a, ...b]) bySigner.set(s.signer.toString('hex'), s)
  return [...bySigner.values()].sort((x, y) => x.signer.compare(y.signer))
}
