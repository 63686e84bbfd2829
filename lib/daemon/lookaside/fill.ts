/** Fills a stick with the newest version of a parcel: all its blocks, and what a device needs to learn of it. */
import { HyperparcelError } from '../../base/errors.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import type { FleetNode } from '../node.ts'
import type { UseCaseContext } from '../use-cases/context.ts'
import { completeVersion } from '../versions/complete-version.ts'
import { headVersion } from '../versions/heads.ts'
import type { OpenedVersion } from '../versions/versions.ts'
import { StickCopy, type Needed, type Runs } from './stick-copy.ts'

/** Earlier versions whose readers get a proof of the log's present length. */
const LENGTHS_MAX = 256
const RUNS_MAX = 1_000_000

export interface Filled {
  version: VersionInfo
  /** Bytes of blocks on the stick, and of those that this fill wrote. */
  bytes: number
  written: number
}

export interface FillParams {
  path: string
  name: string
  partBytes?: number
}

export async function fillStick(
  node: FleetNode,
  params: FillParams,
  context: UseCaseContext
): Promise<Filled> {
  const parcel = node.parcel(params.name)
  const info = headVersion(node, parcel.id)
  if (info === null) {
    throw new HyperparcelError('VERSION_NOT_FOUND', `${parcel.name} has no version yet`)
  }
  const unpin = node.versions.pin(info)
  const { process } = node.lookaside
  let fill: number | null = null
  try {
    const begun = await process.call('fill.begin', {
      path: params.path,
      parcel: parcel.id.toString('hex'),
      cards: node.registry.cards().map((card) => card.toString('hex')),
      partBytes: params.partBytes
    })
    fill = begun.fill
    await completeVersion(node, info, {}, context)
    await node.store.flush()
    const { written, bytes } = await copy(node, info, fill, context)
    fill = null
    return { version: info, bytes, written }
  } finally {
    if (fill !== null) await process.call('fill.stop', { fill }).catch(() => null)
    unpin()
    void node.lookaside.look().catch(() => {})
  }
}

async function copy(
  node: FleetNode,
  info: VersionInfo,
  fill: number,
  context: UseCaseContext
): Promise<{ bytes: number; written: number }> {
  const opened = await node.versions.open(info, { local: true })
  const needed = [...(await registryLogs(node)), ...(await closure(node, info, opened))]
  const { annex } = opened
  return new StickCopy(node.lookaside.process, fill, context).run(needed, {
    id: info.version.toString('hex'),
    number: info.number,
    parcel: info.parcel.toString('hex'),
    annex: annex && { log: annex.log.toString('hex'), block: annex.block }
  })
}

/** They go first: a stick that was filled by half is good for something then. */
async function registryLogs({ registry, store }: FleetNode): Promise<Needed[]> {
  const needed: Needed[] = []
  for (const { log: key } of registry.registryLogs()) {
    const log = await store.peek(key)
    const runs = await log?.durableRuns(0, log.durableLength, RUNS_MAX)
    if (log === null || runs === undefined || runs.length === 0) continue
    needed.push({ log, runs: runs.map(({ start, count }) => [start, count]), lengths: [] })
  }
  return needed
}

async function closure(
  node: FleetNode,
  info: VersionInfo,
  { record }: OpenedVersion
): Promise<Needed[]> {
  const { logs } = await node.versions.closure(info, { local: true })
  const blocksOf = new Map<string, Set<number>>()
  for (const [number, blocks] of logs) {
    blocksOf.set(record.logs[number].key.toString('hex'), new Set(blocks.keys()))
  }
  for (const pack of await node.packs.whole(info)) {
    const name = pack.log.toString('hex')
    blocksOf.set(name, new Set([...(blocksOf.get(name) ?? []), ...pack.blocks]))
  }
  const needed: Needed[] = []
  for (const [name, blocks] of blocksOf) {
    const log = await node.store.open(Buffer.from(name, 'hex'))
    needed.push({ log, runs: runsOf([...blocks]), lengths: knownLengths(node, log.key) })
  }
  return needed
}

/** A device that was away knows a log as it was when one of these versions was made. */
function knownLengths({ registry }: FleetNode, key: Buffer): number[] {
  const lengths = registry
    .parcels()
    .flatMap(({ id }) => registry.versions(id))
    .filter(({ log }) => log.equals(key))
    .map(({ block }) => block + 1)
  return lengths.slice(-LENGTHS_MAX)
}

function runsOf(blocks: number[]): Runs {
  const runs: Runs = []
  for (const block of blocks.sort((a, b) => a - b)) {
    const last = runs.at(-1)
    if (last !== undefined && last[0] + last[1] === block) last[1]++
    else runs.push([block, 1])
  }
  return runs
}
