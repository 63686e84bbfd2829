/**
 * `node volume-server.js SOCKET BYTES FILE [memory]`: serves a blank volume with an overlay in FILE until its stdin
 * closes. With `memory` as guest RAM is: reserved, without syncs. Prints the URI when ready.
 */
import { NbdServer } from '../../lib/block/nbd/server.ts'
import { ZeroBase } from '../../lib/volume/base.ts'
import { Overlay } from '../../lib/volume/overlay.ts'
import { Volume } from '../../lib/volume/volume.ts'

const [socketPath, bytes, file, memory] = process.argv.slice(2)
const sizeBytes = Number(bytes)
const overlay = await Overlay.create(file, {
  volume: 0,
  name: 'disk0',
  sizeBytes,
  baseId: '',
  sealKey: (key) => Buffer.alloc(key.byteLength),
  ...(memory === 'memory' ? { durable: false, reserveBytes: sizeBytes } : {})
})
const server = new NbdServer({
  socketPath: socketPath,
  exports: { disk0: new Volume(new ZeroBase(sizeBytes), overlay) }
})
await server.ready()
console.log(server.uri())
process.stdin.resume()
process.stdin.once('end', () => void server.close().then(() => overlay.destroy()))
