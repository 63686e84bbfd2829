/**
 * Which segments are worth rewriting: those of which the versions that stay need little.
 *
 * A segment is left alone when a version needs it whose maps must stay as they are: one that is open or pinned here, one
 * that a connected device is fetching, one that a device may be running which holds the lease and cannot be asked, and
 * one of which not everything is here.
 */
import type { BlockSet } from '../../base/block-set.ts'
import type { ParcelInfo } from '../../fleet/index.ts'
import { layoutSegment } from '../../format/segment.ts'
import { Marker } from '../../parcel/mark.ts'
import { SlotMasks, slotCount, type LiveSlots } from '../../parcel/slot-masks.ts'
import { headVersion } from '../versions/heads.ts'
import { KeptPlaces } from './kept-places.ts'
import type { FleetNode } from '../node.ts'
import {
  idOf,
  keptNow,
  neededVersions,
  sweptLogs,
  usedVersions,
  type KeepFacts
} from './prune-plan.ts'
import { mark, storedSource, type Placed, type Work } from './sweep.ts'

/** A segment is mostly dead when at most this share of its chunks is needed. */
const LIVE_SHARE_MAX = 0.5
/** Less is not worth the writing. */
const GAIN_BYTES_MIN = 1024 ** 2
/** As many go in one prune; the next one goes on. */
const SEGMENTS_MAX = 262_144
/** Id records looked at in one go. */
const RECORDS = 256

export interface RepackPlan {
  segments: LiveSlots[]
  /** Versions whose maps may name them, each with the map that is issued anew. */
  versions: Placed[]
  /** About the bytes of what is needed of the segments, and of the rest of them. */
  liveBytes: number
  deadBytes: number
}

/** Null when it is not worth it. */
export async function planRepack(
  node: FleetNode,
  parcel: ParcelInfo,
  facts: KeepFacts,
  work: Work
): Promise<RepackPlan | null> {
  const fixed = await fixedVersions(node)
  const ways = new KeptPlaces(node)
  const movable: Placed[] = []
  const staying: Placed[] = []
  for (const info of neededVersions(node, parcel, keptNow(node, parcel, facts))) {
    work.signal.throwIfAborted()
    const isFixed = fixed.has(idOf(info))
    const places = await ways.of(info, isFixed)
    const whole = isFixed ? null : await ways.whole(places)
    if (whole === null) staying.push({ info, places })
    else movable.push({ info, places: [whole] })
  }
  const untouched = new Marker(storedSource(node))
  await mark(node, untouched, staying, work)
  const slots = new SlotMasks()
  await mark(node, new Marker(storedSource(node), slots), movable, work)
  const plan: RepackPlan = { segments: [], versions: movable, liveBytes: 0, deadBytes: 0 }
  for (const log of sweptLogs(node, parcel)) {
    await addMostlyDead(node, plan, log, slots, untouched.needed, work)
  }
  return plan.deadBytes < GAIN_BYTES_MIN ? null : plan
}

/** Ids (hex) of versions that somebody may have open by the maps that they have now. */
async function fixedVersions(node: FleetNode): Promise<Set<string>> {
  const { registry, leases, identity } = node
  const { versions, answered } = await node.replicas.awaited()
  for (const id of usedVersions(node)) versions.add(id)
  for (const { id } of registry.parcels()) {
    const body = leases.chain(id).head?.entry.body
    if (body === undefined || body.released) continue
    const holder = body.holder
    if (holder.equals(identity.device.publicKey) || answered.has(holder.toString('hex'))) continue
    for (const version of [body.version, headVersion(node, id)?.version]) {
      if (version) versions.add(version.toString('hex'))
    }
  }
  return versions
}

async function addMostlyDead(
  node: FleetNode,
  plan: RepackPlan,
  key: Buffer,
  slots: SlotMasks,
  untouched: BlockSet,
  { signal }: Work
): Promise<void> {
  const log = await node.store.peek(key)
  if (log === null || log.length === 0) return
  const bytesEach = (await log.totalBytes()) / log.length
  const counts = new ChunkCounts(node, key)
  for (const live of slots.of(key)) {
    signal.throwIfAborted()
    if (plan.segments.length >= SEGMENTS_MAX) return
    const needed = slotCount(live.mask)
    if (untouched.has(key, live.block)) continue
    const chunks = await counts.of(live.block)
    if (chunks === 0 || needed > chunks * LIVE_SHARE_MAX) continue
    plan.segments.push(live)
    plan.liveBytes += (bytesEach * needed) / chunks
    plan.deadBytes += bytesEach * (1 - needed / chunks)
  }
}

/** How many chunks segments have: from the dedup index, else from the segments themselves. Asked in ascending order. */
class ChunkCounts {
  readonly #node: FleetNode
  readonly #log: Buffer
  #first = 0
  #known: Int8Array = new Int8Array()

  constructor(node: FleetNode, log: Buffer) {
    this.#node = node
    this.#log = log
  }

  /** 0 where it can not be told. */
  async of(block: number): Promise<number> {
    if (block >= this.#first + this.#known.length) {
      this.#first = block
      this.#known = await this.#node.index.chunksOf(this.#log, block, RECORDS)
    }
    const known = this.#known[block - this.#first]
    if (known > 0) return known
    const log = await this.#node.store.open(this.#log)
    const sealed = await log.read(block).catch(() => null) // damaged: left alone
    return sealed === null ? 0 : layoutSegment(sealed).chunks
  }
}
