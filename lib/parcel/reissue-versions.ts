/** Issues the maps of versions anew at the end of a log: the nodes that change, then one annex for each version. */
import { HyperparcelError } from '../base/errors.ts'
import { encodeReissuedMap } from '../format/reissued-map.ts'
import { KIND } from '../format/sealed.ts'
import type { VersionRecord } from '../format/version.ts'
import type { CommitSink } from './commit-sink.ts'
import { MapNodes, type StoredSource } from './map-nodes.ts'
import { MapPacker } from './map-writer.ts'
import { storedRecord, type RecordPlace } from './mark.ts'
import { MetaWriter } from './meta-writer.ts'
import { Reissue, type Reissued } from './reissue.ts'
import type { Repacked } from './repack.ts'

export interface ReissuedVersions {
  /** Where the annex of each version is whose maps changed. */
  annexes: { version: Buffer; block: number }[]
  /** Sealed. */
  bytesStored: number
}

/**
 * @param places all of each version is stored here
 * @param ontick called for each map node, with the number of versions that are done; may throw
 */
export async function reissueVersions(
  places: RecordPlace[],
  { moved, next }: Repacked,
  source: StoredSource,
  sink: CommitSink,
  ontick: (done: number) => void
): Promise<ReissuedVersions> {
  const records: VersionRecord[] = []
  for (const place of places) {
    const record = await storedRecord(source, place)
    if (record === null) {
      throw new HyperparcelError('DATA_UNREACHABLE', 'A version is not stored here any more')
    }
    records.push(record)
  }
  const writer = new MetaWriter(sink, next)
  const packer = new MapPacker(0, next)
  const nodes = new MapNodes(source)
  const made: (Reissued & { place: RecordPlace; record: VersionRecord })[] = []
  let done = 0
  const work = new Reissue({ nodes, moved, packer, sink, ontick: () => ontick(done) }, records)
  for (const place of places) {
    const record = records[done]
    const reissued = await work.version(record)
    if (reissued !== null) made.push({ ...reissued, place, record })
    for (const payload of packer.take()) await writer.add(KIND.MAP, payload)
    done++
  }
  for (const payload of packer.finish()) await writer.add(KIND.MAP, payload)
  await writer.flush()
  const [head] = await sink.heads([sink.log])
  const annexes: ReissuedVersions['annexes'] = []
  for (const { place, record, logs: table, own, roots } of made) {
    const logs = table.map((ref, i) => record.logs[i] ?? ref)
    logs[own] = { key: sink.log, ...head }
    const volumes = record.volumes.map(({ name }, i) => ({ name, root: roots[i] }))
    const { version } = place
    annexes.push({ version, block: writer.next })
    await writer.add(KIND.ANNEX, encodeReissuedMap({ version, logs, volumes }))
  }
  await writer.flush()
  return { annexes, bytesStored: writer.bytesStored }
}
