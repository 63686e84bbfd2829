/**
 * In which order a resume pack holds what was touched: plans as data. A chunk is a number here: volume and chunk in one
 * (`chunkName`).
 *
 * What every recording touched up to its answer comes first, in the order of the last one; then what only some did up to
 * the answer; then the rest, that belongs to the seconds after it; at last what was only guessed.
 */

import { VOLUME_CHUNKS_MAX } from '../base/limits.ts'

/** One resume as it was watched. */
export interface Recording {
  /** Chunks in the order of first touch. */
  touched: number[]
  /** So many of them up to the answer to a key press; all of them where nobody pressed one. */
  answered: number
  /** Chunks that came along with others, whoever needed them. */
  guessed?: number[]
}

export interface PackOrder {
  chunks: number[]
  /** So many of them belong to the answer. */
  answered: number
}

export const chunkName = (volume: number, chunk: number): number =>
  volume * VOLUME_CHUNKS_MAX + chunk
export const volumeOfName = (name: number): number => Math.floor(name / VOLUME_CHUNKS_MAX)
export const chunkOfName = (name: number): number => name % VOLUME_CHUNKS_MAX

/** @param recordings the oldest first */
export function packOrder(recordings: Recording[], chunksMax: number): PackOrder {
  const first = recordings.map(({ touched, answered }) => touched.slice(0, answered))
  const newestFirst = first.toReversed()
  const sets = first.map((chunks) => new Set(chunks))
  const isInAll = (chunk: number) => sets.every((set) => set.has(chunk))
  const order = new Set<number>()
  const add = (chunks: Iterable<number>) => {
    for (const chunk of chunks) if (order.size < chunksMax) order.add(chunk)
  }
  add((newestFirst[0] ?? []).filter(isInAll))
  for (const chunks of newestFirst) add(chunks)
  const answered = order.size
  for (const { touched } of recordings.toReversed()) add(touched)
  for (const { guessed } of recordings.toReversed()) add(guessed ?? [])
  return { chunks: [...order], answered }
}
