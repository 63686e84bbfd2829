/** What devices of a fleet ask of a cache: to hold what they list, and what it holds. They may ask for nothing else. */
import * as v from 'valibot'
import { HyperparcelError } from '../../base/errors.ts'
import type { PeerHandlers } from '../../net/calls.ts'
import { Cards, Holds, HoldsEach, type HoldsAnswer } from '../peers/call-params.ts'
import type { FetchState } from '../versions/proactive.ts'
import { giveHeads } from '../peers/segment-heads.ts'
import type { CacheFleet } from './cache-fleet.ts'
import type { ListedVersion } from './pin-book.ts'

/** How a cache is, for the devices of one of its fleets. */
export interface CacheAnswer {
  quotaBytes: number
  heldBytes: number
  /** Not all of the newest versions fit into the quota. */
  full: boolean
}

export function cacheCalls(fleet: CacheFleet): PeerHandlers {
  return {
    cards: async (params) => {
      for (const card of v.parse(Cards, params).cards) {
        await fleet.addCard(Buffer.from(card, 'base64'))
      }
      return null
    },
    pins: async (_params, { attachment }) => ({ counter: await fleet.addPins(attachment) }),
    holds: (params) => holds(fleet, v.parse(Holds, params).version),
    'holds.each': (params) => holdsEach(fleet, v.parse(HoldsEach, params).versions),
    fetch: (params) => fetchState(fleet, v.parse(Holds, params).version),
    awaits: () => [],
    'segment.heads': (params) => giveHeads(fleet.store, (log) => fleet.mayServe(log), params),
    'cache.state': () => cacheState(fleet)
  }
}

export function cacheState(fleet: CacheFleet): CacheAnswer {
  return {
    quotaBytes: fleet.quotaBytes,
    heldBytes: fleet.held.bytes,
    full: fleet.filler.full
  }
}

async function holds(fleet: CacheFleet, version: string): Promise<HoldsAnswer> {
  for (const listed of fleet.pins.versions()) {
    if (listed.version !== version || !(await isWhole(fleet, listed))) continue
    const { annex } = listed
    if (annex === null) return { holds: true }
    return { holds: true, annex: { log: annex.log.toString('hex'), block: annex.block } }
  }
  return { holds: false }
}

async function holdsEach(fleet: CacheFleet, versions: string[]): Promise<boolean[]> {
  const wanted = new Set(versions)
  const whole = new Set<string>()
  const known = new Map<ListedVersion, boolean>()
  for (const listed of fleet.pins.versions()) {
    if (!wanted.has(listed.version) || whole.has(listed.version)) continue
    if (await isWhole(fleet, listed, known)) whole.add(listed.version)
  }
  return versions.map((version) => whole.has(version))
}

/** It is on its way already, or there is no room for it. */
async function fetchState(fleet: CacheFleet, version: string): Promise<FetchState> {
  const listed = fleet.pins.versions().filter((one) => one.version === version)
  if (listed.length === 0) {
    throw new HyperparcelError('VERSION_NOT_FOUND', 'The cache has not heard of that version yet')
  }
  let best: FetchState = { holds: false, bytesLocal: 0, bytesTotal: 0 }
  for (const one of listed) {
    const state = { holds: await isWhole(fleet, one), ...progressOf(fleet, one) }
    if (state.holds || state.bytesLocal >= best.bytesLocal) best = state
    if (state.holds) return best
  }
  if (!fleet.filler.full || fleet.filler.plan?.keep.some((one) => one.version === version)) {
    return best
  }
  throw new HyperparcelError('CACHE_FULL', 'The quota of the cache is too small for that version')
}

/** Is all of the version here, durably? */
export async function isWhole(
  fleet: CacheFleet,
  listed: ListedVersion,
  known = new Map<ListedVersion, boolean>()
): Promise<boolean> {
  const chain: ListedVersion[] = []
  let whole = true
  for (let one: ListedVersion | null = listed; one !== null; one = one.newer) {
    const before = known.get(one)
    if (before === false) whole = false
    if (before !== undefined) break
    chain.push(one)
  }
  for (const one of chain.toReversed()) {
    whole &&= await hasAll(fleet, one)
    known.set(one, whole)
  }
  return whole
}

async function hasAll(fleet: CacheFleet, { blocks }: ListedVersion): Promise<boolean> {
  for (const { log: key, start, end } of blocks.runs()) {
    const log = await fleet.store.peek(key)
    const [run] = (await log?.durableRuns(start, end, 1)) ?? []
    if (run === undefined || run.start !== start || run.count !== end - start) return false
  }
  return true
}

/** Bytes of the version that are here, and of all of it; about. */
export function progressOf(
  fleet: CacheFleet,
  listed: ListedVersion
): { bytesLocal: number; bytesTotal: number } {
  let bytesLocal = 0
  let bytesTotal = 0
  for (let one: ListedVersion | null = listed; one !== null; one = one.newer) {
    bytesTotal += one.bytes
    let here = 0
    for (const { log, start, end } of one.blocks.runs()) {
      const bits = fleet.held.blocks.of(log)
      for (let block = start; block < end; block++) if (bits.has(block)) here++
    }
    const { size } = one.blocks
    bytesLocal += size === 0 ? 0 : Math.round((one.bytes * here) / size)
  }
  return { bytesLocal, bytesTotal }
}
