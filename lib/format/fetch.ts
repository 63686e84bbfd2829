/**
 * Messages of the channel `hyperparcel/fetch`, version 2, between two devices of a fleet; the channel opens with
 * the version. Byte tables are in `README.md`.
 *
 * All of it comes from a peer: counts and sizes are checked before anything is allocated. Decoded buffers are
 * views of the frame.
 */
import { BLOCK_BYTES_MAX } from '../base/limits.ts'
import { blob, bool, bytes32, invalid, list, optional, struct, type Codec } from './fields.ts'
import { uint as anyUint } from './fields.ts'

export const FETCH_PROTOCOL = 'hyperparcel/fetch'
export const FETCH_VERSION = 2

/** Runs in one `have`; more go in further messages. */
export const HAVE_RUNS_MAX = 1024
/** Nodes of one proof: both sides of a path through the largest tree. */
const NODES_MAX = 128
const SIGNATURE_BYTES_MAX = 256
const MANIFEST_BYTES_MAX = 4096
/** Demand 0, working set 1, proactive 2, hoard 3. */
export const RANK_MAX = 3
export const LATER_MS_MAX = 600_000

/** Tell me what you have of that log, now and when it changes; or stop telling me. */
export interface Want {
  log: Buffer
  on: boolean
}

/** What the sender has durably of a log. */
export interface Have {
  log: Buffer
  /** Forget what was said before. */
  reset: boolean
  /** Signed length, blocks. */
  length: number
  /** Tree hash at that length, null where the sender cannot tell. */
  treeHash: Buffer | null
  /** These blocks too. */
  runs: { start: number; count: number }[]
}

export interface BlockRequest {
  id: number
  log: Buffer
  index: number
  /** Tree nodes that the sender lacks to verify the block. */
  nodes: number
  /** How urgent: 0 (somebody waits for it) is answered before 1, and so on to `RANK_MAX`. */
  rank: number
}

/** That request is more urgent than it was. */
export interface Raise {
  id: number
  rank: number
}

/** Not now: ask again after that time. */
export interface Later {
  id: number
  /** Milliseconds, at most `LATER_MS_MAX`. */
  ms: number
}

export interface LengthRequest {
  id: number
  log: Buffer
  /** Signed length that the sender knows. */
  from: number
}

export interface WireNode {
  index: number
  size: number
  hash: Buffer
}

/** Answers both requests. */
export interface Proof {
  id: number
  block: { index: number; nodes: WireNode[]; value: Buffer } | null
  upgrade: { start: number; length: number; nodes: WireNode[]; signature: Buffer } | null
  /** Encoded by Hypercore; goes with a length proof from 0. */
  manifest: Buffer | null
}

/** `unavailable` and `cancel`. */
export interface ById {
  id: number
}

/** 2⁵³ − 1 at most. */
export const uint: Codec<number> = {
  preencode: (state, value) => anyUint.preencode(state, value),
  encode: (state, value) => anyUint.encode(state, value),
  decode(state) {
    const value = anyUint.decode(state)
    if (!Number.isSafeInteger(value)) throw invalid('A number is too large')
    return value
  }
}

function upTo(max: number, what: string): Codec<number> {
  return {
    preencode: uint.preencode,
    encode: uint.encode,
    decode(state) {
      const value = uint.decode(state)
      if (value > max) throw invalid(`${what} is too large`)
      return value
    }
  }
}

const rank = upTo(RANK_MAX, 'A rank')

export const node: Codec<WireNode> = struct({ index: uint, size: uint, hash: bytes32 })
const nodes = list(node, NODES_MAX)
const run = struct<Have['runs'][number]>({ start: uint, count: uint })

/** In the order of their numbers on the wire. */
export const FETCH_MESSAGES = {
  want: struct<Want>({ log: bytes32, on: bool }),
  have: struct<Have>({
    log: bytes32,
    reset: bool,
    length: uint,
    treeHash: optional(bytes32),
    runs: list(run, HAVE_RUNS_MAX)
  }),
  blockRequest: struct<BlockRequest>({
    id: uint,
    log: bytes32,
    index: uint,
    nodes: uint,
    rank
  }),
  lengthRequest: struct<LengthRequest>({ id: uint, log: bytes32, from: uint }),
  proof: struct<Proof>({
    id: uint,
    block: optional(
      struct<NonNullable<Proof['block']>>({ index: uint, nodes, value: blob(BLOCK_BYTES_MAX) })
    ),
    upgrade: optional(
      struct<NonNullable<Proof['upgrade']>>({
        start: uint,
        length: uint,
        nodes,
        signature: blob(SIGNATURE_BYTES_MAX)
      })
    ),
    manifest: optional(blob(MANIFEST_BYTES_MAX))
  }),
  unavailable: struct<ById>({ id: uint }),
  cancel: struct<ById>({ id: uint }),
  raise: struct<Raise>({ id: uint, rank }),
  later: struct<Later>({ id: uint, ms: upTo(LATER_MS_MAX, 'A time to wait') })
} as const
