/**
 * Rewrites segments that are mostly dead: what is needed of them goes to full ones, maps that name them are issued anew,
 * and what nobody needs then is swept as ever. No version changes, and nothing of it needs a lease.
 *
 * Invariants
 * - Data is opened in a process of its own, never here.
 * - Old segments and maps stay until the new ones are durable, whole and announced. Killed anywhere, versions are
 *   whole; at worst both copies are there, and the next prune sweeps those that no version is read by.
 */
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../../base/errors.ts'
import type { ParcelInfo } from '../../fleet/index.ts'
import { ANNEX_PURPOSE, type RecordDraft } from '../../format/registry.ts'
import type { Handlers } from '../../ipc/channel.ts'
import type { HostApi, RepackParams, RepackSummary } from '../../runner/protocol.ts'
import { freeBytes } from '../../store/room.ts'
import { CommitHost } from '../runners/commit-host.ts'
import type { FleetNode } from '../node.ts'
import { idOf } from './prune-plan.ts'
import type { RepackPlan } from './repack-plan.ts'
import { startRunner } from '../runners/runner-process.ts'
import { keysJson, placeJson, storedBlocks } from '../runners/stored-blocks.ts'
import type { Work } from './sweep.ts'

type Params<M extends keyof HostApi> = HostApi[M]['params']

/** Free besides twice what is written. */
const SPARE_BYTES = 128 * 1024 ** 2
const WORDS = 3

/** Is there room for the copies? */
export async function roomFor(node: FleetNode, { liveBytes }: RepackPlan): Promise<boolean> {
  return (await freeBytes(node.paths.store)) > 2 * liveBytes + SPARE_BYTES
}

export async function repack(
  node: FleetNode,
  parcel: ParcelInfo,
  plan: RepackPlan,
  work: Work
): Promise<RepackSummary> {
  const directory = path.join(node.paths.run, `pack-${randomBytes(4).toString('hex')}`)
  // What is read is what a runner can read by itself: all of it.
  await node.store.flush()
  const file = path.join(directory, 'repack.log')
  const runner = await startRunner(directory, file, handlersFor(node, parcel, plan))
  try {
    return await runner.call('repack', paramsOf(node, plan), {
      attachments: [segmentWords(plan)],
      signal: work.signal,
      onevent: (event) => work.progress(event as { phase: string })
    })
  } finally {
    await runner.call('quit', { dropOverlays: false }).catch(safetyCatch)
    await rm(directory, { recursive: true, force: true })
  }
}

function handlersFor(node: FleetNode, parcel: ParcelInfo, plan: RepackPlan): Handlers {
  const keysOf = (log: Buffer) => keysJson(log, node.keysOf(log))
  const commits = new CommitHost({
    store: node.store,
    index: node.index,
    indexer: node.indexer,
    keyEpoch: () => node.registry.keyring.epoch,
    compressionLevel: () => parcel.compressionLevel,
    ownLog: () => node.repackLog(parcel.id),
    keysJson: keysOf,
    mayReference: () => false,
    doomed: () => node.doomed,
    announce: () => {
      throw new HyperparcelError('INTERNAL', 'Rewriting segments makes no version')
    },
    announceMaps: (maps, log) => announceMaps(node, plan, maps, log)
  })
  return {
    logKeys: ({ logs }: Params<'logKeys'>) => ({
      keys: logs.map((log) => keysOf(Buffer.from(log, 'hex')))
    }),
    'blocks.stored': (params: Params<'blocks.stored'>) => storedBlocks(node.store, params),
    'commit.begin': () => commits.begin(),
    'commit.ids': (params: Params<'commit.ids'>, { attachment }) => commits.ids(params, attachment),
    'commit.append': (params: Params<'commit.append'>, { attachment, recycle }) =>
      commits.append(params, attachment).finally(recycle),
    'commit.logInfo': (params: Params<'commit.logInfo'>) => commits.logInfo(params),
    'commit.reissue': (params: Params<'commit.reissue'>) => commits.reissue(params)
  }
}

/** From then on the versions are read by these maps. Rejects when anything that they name is not here, durably. */
async function announceMaps(
  node: FleetNode,
  plan: RepackPlan,
  maps: Params<'commit.reissue'>['maps'],
  log: Buffer
): Promise<void> {
  const self = node.identity.device.publicKey
  const infos = new Map(plan.versions.map(({ info }) => [idOf(info), info]))
  const drafts: RecordDraft[] = []
  const named = maps.map(({ version, block }) => ({ info: infos.get(version)!, log, block }))
  if (!(await node.versions.areWholeUnder(named))) {
    throw new HyperparcelError('DATA_UNREACHABLE', 'A map would name blocks that are not here')
  }
  for (const { info, block } of named) {
    const known = node.registry.annexes(info.version).find(({ device }) => device.equals(self))
    const { parcel, version } = info
    const serial = (known?.serial ?? 0) + 1
    const purpose = ANNEX_PURPOSE.REISSUED_MAP
    drafts.push({ kind: 'annex', body: { parcel, version, purpose, serial, log, block } })
  }
  if (drafts.length > 0) await node.registry.append(...drafts)
}

function paramsOf(node: FleetNode, { segments, versions }: RepackPlan): RepackParams {
  const places = versions.map(({ places }) => placeJson(places[0]))
  return {
    storeDirectory: node.paths.store,
    dedupKey: node.registry.keyring.dedupKey.toString('hex'),
    keys: keysOfAll(node),
    logs: logsOf(segments).map((log) => log.toString('hex')),
    versions: places
  }
}

/** A version may name logs of any parcel. One whose parcel is not known yet is named by none that is whole here. */
function keysOfAll(node: FleetNode): RepackParams['keys'] {
  return node.registry.parcelLogs().flatMap(({ log }) => {
    try {
      return [keysJson(log, node.keysOf(log))]
    } catch (err) {
      const { code } = err as { code?: string }
      if (code === 'KEY_MISSING' || code === 'PARCEL_NOT_FOUND') return []
      throw err
    }
  })
}

function logsOf(segments: RepackPlan['segments']): Buffer[] {
  const logs = new Map(segments.map(({ log }) => [log.toString('hex'), log]))
  return [...logs.values()]
}

function segmentWords({ segments }: RepackPlan): Buffer {
  const numbers = new Map(logsOf(segments).map((log, i) => [log.toString('hex'), i]))
  const words = new Uint32Array(segments.length * WORDS)
  for (const [i, { log, block, mask }] of segments.entries()) {
    words.set([numbers.get(log.toString('hex'))!, block, mask], i * WORDS)
  }
  return Buffer.from(words.buffer)
}
