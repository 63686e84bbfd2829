/**
 * Signed heads of logs, and two of them that contradict each other. A head proves what the log's author signed at a
 * length, and what the first `at` blocks of that were: two heads whose first `at` blocks differ are proof that the author
 * has written two histories. Byte tables are in `README.md`.
 */
import { blob, bytes32, list, struct } from './fields.ts'
import { defineDocument } from './document.ts'
import { node, uint, type WireNode } from './fetch.ts'

const SIGNATURE_BYTES_MAX = 256
/** Roots of the largest tree. */
const ROOTS_MAX = 64

export const HEAD_BYTES_MAX = 16 * 1024

export interface SignedHead {
  log: Buffer
  /** Signed, blocks. */
  length: number
  /** At most the length. */
  at: number
  /** Roots of the tree at that shorter length, in order. */
  roots: WireNode[]
  /** What they need to become the roots at `length`. */
  more: WireNode[]
  signature: Buffer
}

const HEAD = defineDocument<SignedHead>({
  what: 'a signed head',
  magic: 'HPSH',
  format: 1,
  bytesMax: HEAD_BYTES_MAX,
  body: struct<SignedHead>({
    log: bytes32,
    length: uint,
    at: uint,
    roots: list(node, ROOTS_MAX),
    more: list(node, 2 * ROOTS_MAX),
    signature: blob(SIGNATURE_BYTES_MAX)
  })
})

export function encodeHead(head: SignedHead): Buffer {
  return HEAD.encode(head)
}

/** Throws `FORMAT_INVALID`, `FORMAT_TOO_NEW`. Nothing is verified. */
export function decodeHead(data: Uint8Array): SignedHead {
  return HEAD.decode(data)
}

export interface Contradiction {
  /** Who showed the second one: its public key. */
  device: Buffer
  /** When that was first seen, milliseconds since the epoch. */
  seen: number
  /** Encoded heads of one log, with the same `at`. */
  first: Buffer
  second: Buffer
}

const CONTRADICTION = defineDocument<Contradiction>({
  what: 'a contradiction',
  magic: 'HPCP',
  format: 1,
  bytesMax: 2 * HEAD_BYTES_MAX + 256,
  body: struct<Contradiction>({
    device: bytes32,
    seen: uint,
    first: blob(HEAD_BYTES_MAX),
    second: blob(HEAD_BYTES_MAX)
  })
})

export function encodeContradiction(found: Contradiction): Buffer {
  return CONTRADICTION.encode(found)
}

/** Throws `FORMAT_INVALID`, `FORMAT_TOO_NEW`. */
export function decodeContradiction(data: Uint8Array): Contradiction {
  return CONTRADICTION.decode(data)
}
