/**
 * Warns before the disk is full, and says what pruning would give back. Nothing is ever deleted by itself.
 */
import { statfs } from 'node:fs/promises'
import { silent } from '../../base/progress.ts'
import type { LowSpace } from '../api-versions.ts'
import type { FleetNode } from '../node.ts'
import { planPrune } from './prune-plan.ts'

/** Low is what is below both: a share of the disk, and bytes. */
const SHARE = 0.1
const BYTES = 20 * 1024 ** 3
/** So many versions a parcel are suggested to stay; only where that gives nothing back, the newest alone. */
const KEEP = [3, 1]
/** Not worth a word. */
const PRUNABLE_BYTES_MIN = 16 * 1024 ** 2
/** For so long an answer counts, unless versions were made or blocks deleted. */
const AGAIN_MS = 60_000

export function isLow(freeBytes: number, totalBytes: number): boolean {
  return freeBytes < BYTES && freeBytes < totalBytes * SHARE
}

type Suggestion = Pick<LowSpace, 'bytes_prunable' | 'command'>

const NOTHING: Suggestion = { bytes_prunable: 0, command: null }

export class LowSpaceWatch {
  readonly #node: FleetNode
  #known: { key: string; at: number; found: Promise<Suggestion> } | null = null

  constructor(node: FleetNode) {
    this.#node = node
  }

  /** Blocks were deleted: what was known of them is not true any more. */
  forget(): void {
    this.#known = null
  }

  /** Null while there is room enough. */
  async look(): Promise<LowSpace | null> {
    const { bavail, blocks, bsize } = await statfs(this.#node.paths.home)
    if (!isLow(bavail * bsize, blocks * bsize)) return null
    return { bytes_free: bavail * bsize, ...(await this.#suggestion()) }
  }

  #suggestion(): Promise<Suggestion> {
    const { registry } = this.#node
    const counts = registry.parcels().map(({ id }) => registry.versions(id).length)
    const key = counts.join()
    const now = performance.now()
    if (this.#known === null || this.#known.key !== key || now - this.#known.at > AGAIN_MS) {
      const found = this.#suggest().catch((err: unknown) => {
        this.#node.logger.warn({ err }, 'What pruning would give back could not be told')
        return NOTHING
      })
      this.#known = { key, at: now, found }
    }
    return this.#known.found
  }

  async #suggest(): Promise<Suggestion> {
    const node = this.#node
    for (const keep of KEEP) {
      let best = NOTHING
      for (const parcel of node.registry.parcels()) {
        if (node.registry.versions(parcel.id).length <= keep) continue
        const facts = { keep, newestWhole: null, doom: false }
        const work = { signal: node.closingSignal, progress: silent }
        const { bytes } = await planPrune(node, parcel, facts, work)
        if (bytes <= best.bytes_prunable) continue
        best = {
          bytes_prunable: bytes,
          command: `hyperparcel prune ${parcel.name} --keep ${keep}`
        }
      }
      if (best.bytes_prunable >= PRUNABLE_BYTES_MIN) return best
    }
    return NOTHING
  }
}
