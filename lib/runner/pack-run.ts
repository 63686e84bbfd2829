/** Makes a resume pack of a version, in the order of what was touched. Everything of it is stored here. */
import { MAP_LEAF_CHUNKS } from '../base/limits.ts'
import { PACK_CHUNKS_MAX, PACK_ZERO_RUNS_MAX, type PackRun } from '../format/pack.ts'
import { writePack } from '../parcel/pack-writer.ts'
import type { VolumeMap } from '../parcel/volume-map.ts'
import {
  chunkOfName,
  packOrder,
  volumeOfName,
  type PackOrder,
  type Recording
} from '../policy/pack-order.ts'
import { MapBase } from '../volume/map-base.ts'
import { SegmentCache } from '../volume/segment-cache.ts'
import { Context } from './context.ts'
import type { Host } from './host.ts'
import type { PackParams, PackSummary } from './protocol.ts'
import { RemoteSink } from './remote-sink.ts'

const NAME_BYTES = 8
const MEMORY = 'memory'

/** Names of chunks as 8 bytes each. */
export function encodeNames(names: number[]): Buffer {
  return Buffer.from(new Float64Array(names).buffer)
}

export function decodeNames(data: Buffer): number[] {
  const names = new Float64Array(Math.floor(data.byteLength / NAME_BYTES))
  Buffer.from(names.buffer).set(data.subarray(0, names.byteLength))
  return [...names]
}

/** Of what an earlier resume touched. */
export async function packTrace(
  host: Host,
  { open, traceBytes }: PackParams,
  attachment: Buffer
): Promise<PackSummary> {
  const at = attachment.byteLength - traceBytes
  const context = await Context.open(open, attachment.subarray(0, at), host)
  try {
    const touched = decodeNames(attachment.subarray(at))
    return await packVersion(context, [{ touched, answered: touched.length }])
  } finally {
    await context.close()
  }
}

/** Durable and announced on return. */
export async function packVersion(context: Context, recordings: Recording[]): Promise<PackSummary> {
  const version = context.version!
  const cache = new SegmentCache()
  const { volumes } = version.record
  const maps = volumes.map(({ name }) => version.map(name))
  const bases = volumes.map(
    ({ sizeBytes }, i) =>
      new MapBase({
        sizeBytes,
        map: maps[i],
        reader: context.source,
        logKey: (number) => context.logs.keyOf(number),
        dataKey: (number) => context.keysOf(number).data,
        cache
      })
  )
  const { order, zeros } = await withoutZeros(packOrder(recordings, PACK_CHUNKS_MAX), maps)
  const memory = volumes.findIndex(({ name }) => name === MEMORY)
  if (memory >= 0) zeros.push(...(await zeroRuns(maps[memory], memory, zeros.length)))
  const sink = await RemoteSink.begin(context.host)
  const written = await writePack(
    {
      version: context.versionId!,
      record: version.record,
      chunks: order.chunks.map((name) => ({
        volume: volumeOfName(name),
        chunk: chunkOfName(name)
      })),
      answered: order.answered,
      zeros,
      dedupKey: context.dedupKey,
      read: ({ volume, chunk }, target) => bases[volume].read(chunk, 1, target)
    },
    sink
  )
  const announced = [{ version: context.versionId!.toString('hex'), block: written.block }]
  await context.host.call('commit.reissue', { commit: sink.commit, maps: announced })
  return written
}

/** Touched chunks without data are named as zeros; names of another version's size are left out. */
async function withoutZeros(
  order: PackOrder,
  maps: VolumeMap[]
): Promise<{ order: PackOrder; zeros: PackRun[] }> {
  const kept: PackOrder = { chunks: [], answered: 0 }
  const zeros: PackRun[] = []
  for (const [i, name] of order.chunks.entries()) {
    const volume = volumeOfName(name)
    const chunk = chunkOfName(name)
    if (!(chunk < (maps[volume]?.chunks ?? 0))) continue
    const leaf = await maps[volume].loadLeaf(Math.floor(chunk / MAP_LEAF_CHUNKS))
    if (leaf.refs[chunk % MAP_LEAF_CHUNKS] === 0) {
      if (zeros.length < PACK_ZERO_RUNS_MAX / 2) zeros.push({ volume, first: chunk, count: 1 })
      continue
    }
    kept.chunks.push(name)
    if (i < order.answered) kept.answered++
  }
  return { order: kept, zeros }
}

/** The longest runs of zeros of a volume, as many as still fit. */
async function zeroRuns(map: VolumeMap, volume: number, taken: number): Promise<PackRun[]> {
  const runs: PackRun[] = []
  for (let index = 0; index < map.leaves; index++) {
    const { refs } = await map.loadLeaf(index)
    const end = Math.min(MAP_LEAF_CHUNKS, map.chunks - index * MAP_LEAF_CHUNKS)
    for (let i = 0; i < end; i++) {
      if (refs[i] !== 0) continue
      const first = index * MAP_LEAF_CHUNKS + i
      const last = runs.at(-1)
      if (last !== undefined && last.first + last.count === first) last.count++
      else runs.push({ volume, first, count: 1 })
    }
  }
  const longest = runs.toSorted((a, b) => b.count - a.count).slice(0, PACK_ZERO_RUNS_MAX - taken)
  return longest.toSorted((a, b) => a.first - b.first)
}
