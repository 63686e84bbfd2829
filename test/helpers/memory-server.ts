/** `node memory-server.js SOCKET BYTES`: serves a `MemoryDevice` until its stdin closes. Prints the URI when ready. */
import { MemoryDevice } from '../../lib/block/memory-device.ts'
import { NbdServer } from '../../lib/block/nbd/server.ts'

const [socketPath, bytes] = process.argv.slice(2)
const server = new NbdServer({
  socketPath: socketPath,
  exports: { disk0: new MemoryDevice(Number(bytes)) }
})
await server.ready()
console.log(server.uri())
process.stdin.resume()
process.stdin.once('end', () => void server.close())
