/**
 * repack: needed chunks of segments that are mostly dead go to full ones, and the maps of all versions that name them
 * are issued anew, in a log of this device. No version changes. The daemon decides what, and announces it.
 */
import { HyperparcelError } from '../base/errors.ts'
import { faultPoint } from '../base/fault-point.ts'
import type { Progress } from '../base/progress.ts'
import { ChunkThreads } from '../parcel/chunk-threads.ts'
import type { StoredSource } from '../parcel/map-nodes.ts'
import type { RecordPlace } from '../parcel/mark.ts'
import { reissueVersions } from '../parcel/reissue-versions.ts'
import { repack } from '../parcel/repack.ts'
import type { LiveSlots } from '../parcel/slot-masks.ts'
import { ReadOnlyStore } from '../store/read-only-store.ts'
import type { Host } from './host.ts'
import type { PlaceJson, RepackParams, RepackSummary } from './protocol.ts'
import { RemoteSink } from './remote-sink.ts'
import { StoredHere } from './stored-here.ts'

const REPORT_MS = 200
const WORDS = 3

export async function repackSegments(
  host: Host,
  params: RepackParams,
  attachment: Buffer,
  signal: AbortSignal,
  event: (progress: Progress) => void
): Promise<RepackSummary> {
  const local = new ReadOnlyStore({ directory: params.storeDirectory })
  const threads = new ChunkThreads()
  await local.ready()
  try {
    const blocks = new StoredHere(host, local)
    const sink = await RemoteSink.begin(host)
    const segments = segmentsOf(params.logs, attachment)
    const dedupKey = Buffer.from(params.dedupKey, 'hex')
    const packed = await repack(segments, blocks, sink, dedupKey, threads, (done) => {
      signal.throwIfAborted()
      event({ phase: 'packing what is needed', done, total: segments.length, unit: 'items' })
    })
    faultPoint('repacked')
    const places = params.versions.map(placeOf)
    let reported = 0
    const ontick = (done: number) => {
      signal.throwIfAborted()
      if (performance.now() - reported < REPORT_MS) return
      reported = performance.now()
      event({ phase: 'writing maps anew', done, total: places.length, unit: 'items' })
    }
    const source = sourceOf(params, blocks)
    const reissued = await reissueVersions(places, packed, source, sink, ontick)
    faultPoint('reissued')
    const maps = reissued.annexes.map(({ version, block }) => ({
      version: version.toString('hex'),
      block
    }))
    await host.call('commit.reissue', { commit: sink.commit, maps })
    const bytesStored = packed.bytesStored + reissued.bytesStored
    return { segments: packed.moved.segments, maps: maps.length, bytesStored }
  } finally {
    await threads.close()
    await local.close()
  }
}

/** Maps and records as they are stored here. */
function sourceOf(params: RepackParams, blocks: StoredHere): StoredSource {
  const keys = new Map(params.keys.map(({ log, meta }) => [log, Buffer.from(meta, 'hex')]))
  return {
    async read(log, block) {
      const [found] = await blocks.read(log, [block])
      if (found !== 'unreadable') return found
      throw new HyperparcelError('DATA_CORRUPT', 'The disk does not give a map block back')
    },
    metaKey(log) {
      const key = keys.get(log.toString('hex'))
      if (key !== undefined) return key
      throw new HyperparcelError('KEY_MISSING', 'A version references a log without a known key')
    }
  }
}

/** Where a version is, as it came over the socket. */
export function placeOf({ version, log, block, annex }: PlaceJson): RecordPlace {
  return {
    version: Buffer.from(version, 'hex'),
    log: Buffer.from(log, 'hex'),
    block,
    annex: annex === null ? null : { log: Buffer.from(annex.log, 'hex'), block: annex.block }
  }
}

function segmentsOf(logs: string[], attachment: Buffer): LiveSlots[] {
  const words = new Uint32Array(attachment.byteLength / 4)
  Buffer.from(words.buffer).set(attachment)
  const keys = logs.map((log) => Buffer.from(log, 'hex'))
  const segments: LiveSlots[] = []
  for (let at = 0; at + WORDS <= words.length; at += WORDS) {
    segments.push({ log: keys[words[at]], block: words[at + 1], mask: words[at + 2] })
  }
  return segments
}
