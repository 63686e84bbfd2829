/**
 * What a resume needs first, asked for at its very beginning, in this order: the version's record, its device state, the
 * part of its pack up to an answer, its maps, the rest of the pack. So the link is full from the first round trip on,
 * while lease, runner and VMM are still being seen to.
 */
import safetyCatch from 'safety-catch'
import type { VersionInfo } from '../../fleet/index.ts'
import { answerSegments } from '../../parcel/pack-index.ts'
import type { FleetNode } from '../node.ts'
import type { OpenedVersion } from '../versions/versions.ts'
import type { OpenedPack } from './packs.ts'

const PRIORITY = 'working-set'

export class ResumeStream {
  readonly info: VersionInfo
  /** The pack that is on its way; null where there is none, or none is of use. */
  readonly pack: Promise<OpenedPack | null>
  /** Resolves when all of it has come, or nobody waits for it any more. */
  readonly done: Promise<void>
  readonly #node: FleetNode
  readonly #end = new AbortController()

  /** @param usePack false: state and maps only */
  constructor(node: FleetNode, info: VersionInfo, usePack: boolean) {
    this.#node = node
    this.info = info
    const under = this.#run(usePack)
    this.pack = under.then(
      ({ pack }) => pack,
      () => null
    )
    this.done = under.then(({ fetches }) => fetches).catch(safetyCatch)
  }

  /** Nothing more of it is needed. */
  end(): void {
    this.#end.abort()
  }

  async #run(usePack: boolean): Promise<{ pack: OpenedPack | null; fetches: Promise<void> }> {
    const signal = AbortSignal.any([this.#end.signal, this.#node.closingSignal])
    const { fetcher } = this.#node.network
    const opts = { priority: PRIORITY, signal } as const
    const opened = await this.#node.versions.open(this.info, { priority: 'demand', signal })
    const want = (log: Buffer, blocks: number[]): Promise<void> => {
      const fetched = blocks.length === 0 ? Promise.resolve() : fetcher.fetch(log, blocks, opts)
      fetched.catch(safetyCatch)
      return fetched
    }
    const { state } = opened.record
    const blocks = state === null ? [] : range(state.firstBlock, state.blocks)
    const device = state === null ? null : want(opened.record.logs[state.log].key, blocks)
    const pack = usePack && state !== null ? await this.#open(opened, signal) : null
    const fetchAll = async () => {
      const first = pack === null ? 0 : answerSegments(pack.index.head) + 1
      // Jobs under way at once share the link, so what comes later is not asked for before.
      if (pack !== null) await want(pack.annex.log, pack.blocks.slice(0, first))
      const rest = pack === null ? null : want(pack.annex.log, pack.blocks.slice(first))
      await Promise.all([device, want(this.info.log, mapBlocks(this.info, opened)), rest])
    }
    const fetches = fetchAll()
    fetches.catch(safetyCatch)
    return { pack, fetches }
  }

  /** Null where all of the version is stored here, and the pack is not. */
  async #open(opened: OpenedVersion, signal: AbortSignal): Promise<OpenedPack | null> {
    const pack = await this.#node.packs.open(this.info, opened, signal)
    if (pack === null || pack.isLocal) return pack
    const state = opened.record.state!
    const log = await this.#node.store.open(opened.record.logs[state.log].key)
    const here = await log.hasEach(range(state.firstBlock, state.blocks))
    if (!here.every(Boolean)) return pack
    return (await this.#node.versions.holds(this.info)) ? null : pack
  }
}

/** A commit wrote its maps between the device state and the record. */
function mapBlocks(info: VersionInfo, { record, annex }: OpenedVersion): number[] {
  const { state } = record
  const own = record.logs.findIndex((log) => log.key.equals(info.log))
  if (state === null || state.log !== own || annex !== null) return []
  const first = state.firstBlock + state.blocks
  return range(first, info.block - first)
}

function range(first: number, count: number): number[] {
  return Array.from({ length: Math.max(0, count) }, (_, i) => first + i)
}
