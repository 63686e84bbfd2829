/**
 * `node version-server.js SOCKET VOLUME_BYTES DATA_BYTES FILE`: serves a volume of a committed version, as a runner
 * does, until its stdin closes. The version starts with DATA_BYTES of random data, all of it decoded and cached when
 * the URI is printed; changes go to an overlay in FILE.
 */
import { randomBytes } from 'node:crypto'
import { assert } from '../../lib/base/errors.ts'
import { CHUNK_BYTES } from '../../lib/base/limits.ts'
import { NbdServer } from '../../lib/block/nbd/server.ts'
import { MapBase } from '../../lib/volume/map-base.ts'
import { Overlay } from '../../lib/volume/overlay.ts'
import { SegmentCache } from '../../lib/volume/segment-cache.ts'
import { Volume } from '../../lib/volume/volume.ts'
import { MemoryParcel, type Changes } from './memory-parcel.ts'

const READ_BYTES = 256 * 1024

const [socketPath, volumeBytes, bytes, file] = process.argv.slice(2)
const sizeBytes = Number(volumeBytes)
const dataBytes = Number(bytes)

const parcel = new MemoryParcel()
const changes: Changes = new Map()
for (let chunk = 0; chunk < dataBytes / CHUNK_BYTES; chunk++) {
  changes.set(chunk, randomBytes(CHUNK_BYTES))
}
const version = await parcel.commit([{ name: 'disk0', sizeBytes, changes }])
const base = new MapBase({
  sizeBytes,
  map: version.map('disk0'),
  reader: parcel.store.reader(parcel.logs),
  logKey: (number) => parcel.logs.keyOf(number),
  dataKey: () => parcel.store.keys.data,
  cache: new SegmentCache()
})
const overlay = await Overlay.create(file, {
  volume: 0,
  name: 'disk0',
  sizeBytes,
  baseId: '',
  sealKey: (key) => Buffer.alloc(key.byteLength)
})
const volume = new Volume(base, overlay)

const target = Buffer.alloc(READ_BYTES)
for (let at = 0; at < dataBytes; at += READ_BYTES) await volume.pread(target, at)
for (let at = 0; at < dataBytes; at += READ_BYTES) {
  assert(volume.pread(target, at) === undefined, 'the data does not fit into the cache')
  assert(target.subarray(0, CHUNK_BYTES).equals(changes.get(at / CHUNK_BYTES)!), 'wrong data')
}
changes.clear()

const server = new NbdServer({ socketPath, exports: { disk0: volume } })
await server.ready()
console.log(server.uri())
process.stdin.resume()
process.stdin.once('end', () => void server.close().then(() => overlay.destroy()))
