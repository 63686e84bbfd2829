/**
 * Which block next, from whom: a pure decision, so that a scheduler can take its place.
 *
 * Here: blocks in the order given (most urgent first), each from the source with the shortest expected wait
 * (its round trip times what it already owes us), and never twice from the same source.
 */
export interface ChoosableBlock {
  log: string
  index: number
  /** Somebody waits for it. */
  demand: boolean
}

export interface ChoosableSource<B extends ChoosableBlock> {
  /** Milliseconds. */
  rttMs: number
  /** Blocks under way from it. */
  inFlight: number
  /** How many may be, for demand and for the rest. */
  window: { demand: number; bulk: number }
  /** It does not answer at the moment. */
  silent: boolean
  /** It has that block, and was not asked for it yet. */
  offers(block: B): boolean
}

export interface Choice<B, S> {
  requests: { block: B; source: S }[]
  /** No source that answers offers these: look again when that changes. */
  hopeless: B[]
}

/** Shorter round trips are not worth telling apart. */
const RTT_MS_MIN = 0.2

export function choose<B extends ChoosableBlock, S extends ChoosableSource<B>>(
  blocks: readonly B[],
  sources: readonly S[]
): Choice<B, S> {
  const choice: Choice<B, S> = { requests: [], hopeless: [] }
  const inFlight = sources.map((source) => source.inFlight)
  for (const block of blocks) {
    let best = -1
    let bestWait = Number.POSITIVE_INFINITY
    let offered = false
    for (let i = 0; i < sources.length; i++) {
      const source = sources[i]
      if (source.silent || !source.offers(block)) continue
      offered = true
      if (inFlight[i] >= (block.demand ? source.window.demand : source.window.bulk)) continue
      const wait = Math.max(RTT_MS_MIN, source.rttMs) * (1 + inFlight[i])
      if (wait < bestWait) [best, bestWait] = [i, wait]
    }
    if (best >= 0) {
      inFlight[best]++
      choice.requests.push({ block, source: sources[best] })
    } else if (!offered) choice.hopeless.push(block)
  }
  return choice
}
