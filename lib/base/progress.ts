/**
 * One progress model, rendered as a line on a terminal or as JSON lines on stderr (`lib/cli/ui`).
 * A use case reports; it never prints.
 */
export interface Progress {
  /** What is going on, as a verb phrase in lower case: `fetching memory`, `storing disk0`, `waiting for data`. */
  phase: string
  /** Units done so far, and of how many where that is known. */
  done?: number
  total?: number
  /** Unit of `done` and `total`. */
  unit?: 'bytes' | 'items'
  /** Where it comes from or goes to: names of devices. */
  peers?: string[]
  /** What came from where so far, the fastest first. */
  sources?: ByteShare[]
}

/** A device, a cache, a stick …, what came from it, and how fast that comes now. In the words of the JSON. */
export interface ByteShare {
  name: string
  kind: string
  bytes: number
  per_second: number
}

export type ProgressReporter = (progress: Progress) => void

export const silent: ProgressReporter = () => {}
