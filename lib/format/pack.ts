/**
 * The head of a resume pack: which chunks of a version the segments behind it hold, in the order in which a resume
 * touches them. It is an annex: a sealed block of kind `ANNEX`, named by a registry record; the segments are the blocks
 * after it, of kind `PACK`.
 */
import { SEGMENT_CHUNKS_MAX, VOLUME_CHUNKS_MAX } from '../base/limits.ts'
import { defineDocument } from './document.ts'
import { bytes32, invalid, list, optional, struct, text, uint, type Codec } from './fields.ts'

export const PACK_HEAD_BYTES_MAX = 512 * 1024
/** 32 MiB. */
export const PACK_CHUNKS_MAX = 8192
const ZERO_RUNS_MAX = 8192
const VOLUMES_MAX = 64
const VOLUME_NAME_BYTES_MAX = 32

/** Consecutive chunks of a volume, which counts in the pack's list. */
export interface PackRun {
  volume: number
  first: number
  count: number
}

export interface PackHead {
  /** Id of the version that it was made for. */
  version: Buffer
  /** Content roots: it is good for every version that has the same. Null for a volume of zeros. */
  volumes: { name: string; root: Buffer | null }[]
  /** Chunks in the segments, in order; all segments but the last one are full. */
  runs: PackRun[]
  /** The first so many chunks are what an answer to a key press needs. */
  answered: number
  /** Chunks that are zeros, so that nobody has to ask a map for them. */
  zeros: PackRun[]
}

const run: Codec<PackRun> = struct<PackRun>({ volume: uint, first: uint, count: uint })

const DOCUMENT = defineDocument<PackHead>({
  what: 'the head of a resume pack',
  magic: 'HPPK',
  format: 1,
  bytesMax: PACK_HEAD_BYTES_MAX,
  body: struct<PackHead>({
    version: bytes32,
    volumes: list(
      struct<PackHead['volumes'][number]>({
        name: text(VOLUME_NAME_BYTES_MAX),
        root: optional(bytes32)
      }),
      VOLUMES_MAX
    ),
    runs: list(run, PACK_CHUNKS_MAX),
    answered: uint,
    zeros: list(run, ZERO_RUNS_MAX)
  })
})

/** Runs of zeros that a head may have. */
export const PACK_ZERO_RUNS_MAX = ZERO_RUNS_MAX

/** Throws `FORMAT_INVALID` for what would not decode. */
export function encodePackHead(head: PackHead): Buffer {
  check(head)
  return DOCUMENT.encode(head)
}

/** Throws `FORMAT_INVALID`, or `FORMAT_TOO_NEW` for one of a later release. */
export function decodePackHead(data: Buffer): PackHead {
  const head = DOCUMENT.decode(data)
  check(head)
  return head
}

export function packChunks({ runs }: Pick<PackHead, 'runs'>): number {
  return runs.reduce((sum, { count }) => sum + count, 0)
}

/** Segments behind the head. */
export function packSegments(head: Pick<PackHead, 'runs'>): number {
  return Math.ceil(packChunks(head) / SEGMENT_CHUNKS_MAX)
}

function check(head: PackHead): void {
  const { volumes, runs, zeros, answered } = head
  const isRun = ({ volume, first, count }: PackRun) =>
    volume < volumes.length && count > 0 && first + count <= VOLUME_CHUNKS_MAX
  const chunks = packChunks(head)
  if (![...runs, ...zeros].every(isRun) || chunks > PACK_CHUNKS_MAX || answered > chunks) {
    throw invalid('The head of a resume pack names what cannot be')
  }
}
