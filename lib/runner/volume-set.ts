/**
 * The volumes of a session: one overlay and one `Volume` each, opened together, frozen at one moment, and put on
 * a new version together.
 */
import { access, rm } from 'node:fs/promises'
import path from 'node:path'
import safetyCatch from 'safety-catch'
import { faultPoint } from '../base/fault-point.ts'
import { SegmentCache } from '../volume/segment-cache.ts'
import { MapBase } from '../volume/map-base.ts'
import { NearPrefetch } from '../volume/near-prefetch.ts'
import { ZeroBase, type VolumeBase } from '../volume/base.ts'
import { PackedBase } from '../volume/packed-base.ts'
import { TracedBase } from '../volume/touch-trace.ts'
import { Overlay } from '../volume/overlay.ts'
import { Volume, type Frozen } from '../volume/volume.ts'
import type { Context } from './context.ts'
import { OVERLAY_SUFFIX, sealOverlayKey, unsealOverlayKey } from './overlay-key.ts'
import type { VolumeInput } from './commit-run.ts'

export interface VolumePlan {
  name: string
  sizeBytes: number
  readOnly: boolean
  /** Starts as zeros, whatever the version has. */
  fresh: boolean
  /** Guest RAM: nothing in it needs to survive a crash, and no write of it may fail for lack of space. */
  memory: boolean
}

export class VolumeSet {
  readonly #context: Context
  readonly #cache = new SegmentCache()
  /** One for all volumes: they share the link. */
  readonly #near: NearPrefetch
  readonly #plans: VolumePlan[] = []
  readonly #volumes = new Map<string, Volume>()
  readonly #onLowSpace: () => void

  readonly #throwaway: boolean

  /** @param throwaway nothing that is written needs to survive anything, and no space is reserved for it */
  constructor(context: Context, onLowSpace: () => void, { throwaway = false } = {}) {
    this.#context = context
    this.#near = new NearPrefetch({
      fetch: (log, blocks) => context.source.fetchAhead(log, blocks)
    })
    this.#onLowSpace = onLowSpace
    this.#throwaway = throwaway
  }

  get(name: string): Volume {
    return this.#volumes.get(name)!
  }

  values(): IterableIterator<Volume> {
    return this.#volumes.values()
  }

  entries(): IterableIterator<[string, Volume]> {
    return this.#volumes.entries()
  }

  get writable(): boolean {
    for (const volume of this.#volumes.values()) if (volume.overlay !== null) return true
    return false
  }

  get dirtyBytes(): number {
    let bytes = 0
    for (const volume of this.#volumes.values()) bytes += volume.dirtyBytes
    return bytes
  }

  /** Opens one volume. `keep` goes on with the overlay of a crashed run, where there is one. */
  async open(plan: VolumePlan, keep: boolean): Promise<void> {
    const number = this.#plans.push(plan) - 1
    const base = this.#base(plan)
    const overlay = plan.readOnly ? null : await this.#overlay(plan, number, keep)
    this.#volumes.set(plan.name, new Volume(base, overlay))
  }

  /** Everything written so far, of all volumes at one moment. Synchronous. */
  freeze(without: string[] = []): FrozenSet {
    const frozen = new Map<string, Frozen>()
    try {
      for (const [name, volume] of this.#volumes) {
        if (volume.overlay !== null && !without.includes(name)) frozen.set(name, volume.freeze())
      }
    } catch (err) {
      for (const generation of frozen.values()) generation.abandon()
      throw err
    }
    const plans = this.#plans.filter((plan) => !without.includes(plan.name))
    return new FrozenSet(plans, frozen, (plan) => this.#base({ ...plan, fresh: false }))
  }

  /** Drops the overlays: a version has everything, or the user wants it gone. All of them, also when one fails. */
  async destroy(): Promise<void> {
    await settled([...this.#volumes.values()].map((volume) => volume.overlay?.destroy()))
    faultPoint('released')
    await this.close()
  }

  /** Closes after a crash: overlays that hold nothing new, and those of guest RAM, are of no use to anybody. */
  async keep(): Promise<void> {
    for (const { overlay } of this.#volumes.values()) {
      if (overlay !== null && (!overlay.durable || overlay.clean)) await overlay.destroy()
    }
    await this.close()
  }

  async close(): Promise<void> {
    await settled([...this.#volumes.values()].map((volume) => volume.close()))
  }

  #base(plan: VolumePlan): VolumeBase {
    const { version } = this.#context
    if (plan.fresh || version === null) return new ZeroBase(plan.sizeBytes)
    const { sizeBytes } = version.volume(plan.name)
    const map = new MapBase({
      sizeBytes,
      map: version.map(plan.name),
      reader: this.#context.source,
      logKey: (number) => this.#context.logs.keyOf(number),
      dataKey: (number) => this.#context.keysOf(number).data,
      cache: this.#cache,
      near: this.#near,
      seeds: this.#context.seeds
    })
    const { pack, trace } = this.#context
    const packed = pack?.index.volume(plan.name)
    const base = packed ? new PackedBase(map, pack!, packed) : map
    if (trace === null || trace.ended) return base
    const number = version.record.volumes.findIndex(({ name }) => name === plan.name)
    return new TracedBase(base, trace, number, plan.memory)
  }

  async #overlay(plan: VolumePlan, number: number, keep: boolean): Promise<Overlay> {
    const { stateDirectory } = this.#context.params
    const file = path.join(stateDirectory, plan.name + OVERLAY_SUFFIX)
    const runtime = {
      onLowSpace: this.#onLowSpace,
      ...(plan.memory && !this.#throwaway ? { reserveBytes: plan.sizeBytes } : {})
    }
    if (keep && (await exists(file))) {
      return Overlay.open(file, {
        ...runtime,
        unsealKey: (sealed) => unsealOverlayKey(sealed, this.#context.overlayKey)
      })
    }
    await rm(file, { force: true })
    return Overlay.create(file, {
      ...runtime,
      volume: number,
      name: plan.name,
      sizeBytes: plan.sizeBytes,
      baseId: this.#context.versionId?.toString('hex') ?? '',
      durable: !plan.memory && !this.#throwaway,
      sealKey: (key) => sealOverlayKey(key, this.#context.overlayKey)
    })
  }
}

/** One generation of all volumes. Either `release` or `abandon`. */
export class FrozenSet {
  readonly inputs: VolumeInput[]
  readonly #plans: VolumePlan[]
  readonly #frozen: Map<string, Frozen>
  readonly #base: (plan: VolumePlan) => VolumeBase

  constructor(
    plans: VolumePlan[],
    frozen: Map<string, Frozen>,
    base: (plan: VolumePlan) => VolumeBase
  ) {
    this.#plans = plans
    this.#frozen = frozen
    this.#base = base
    this.inputs = plans.map((plan) => ({
      name: plan.name,
      sizeBytes: plan.sizeBytes,
      readOnly: plan.readOnly,
      fresh: plan.fresh,
      frozen: frozen.get(plan.name) ?? null
    }))
  }

  get changed(): boolean {
    for (const frozen of this.#frozen.values()) {
      if (!frozen.runs()[Symbol.iterator]().next().done) return true
    }
    return false
  }

  /** Notes which commit takes this generation, durably, before that version exists. */
  async markCommit(version: Buffer): Promise<void> {
    for (const frozen of this.#frozen.values()) await frozen.markCommit(version.toString('hex'))
    faultPoint('marked')
  }

  /**
   * The version is durable: the volumes lie on it now. One that cannot note that goes on as it was, with all of its
   * changes, which is right too, only more: the next commit stores them again.
   */
  async release(version: Buffer): Promise<void> {
    for (const plan of this.#plans) {
      const frozen = this.#frozen.get(plan.name)
      try {
        await frozen?.release(this.#base(plan), version.toString('hex'))
        plan.fresh = false
      } catch (err) {
        safetyCatch(err)
        frozen?.abandon()
      }
    }
    faultPoint('released')
  }

  abandon(): void {
    for (const frozen of this.#frozen.values()) {
      try {
        frozen.abandon()
      } catch (err) {
        safetyCatch(err)
      }
    }
  }
}

/** Waits for all, then rejects with the first failure. */
async function settled(work: (Promise<void> | undefined)[]): Promise<void> {
  for (const end of await Promise.allSettled(work)) {
    if (end.status === 'rejected') throw end.reason
  }
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false
  )
}
