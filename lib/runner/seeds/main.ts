/**
 * The process that touches seeds: `node main.js`, with a socket as descriptor 3. Of a runner, it reads chunks; of the
 * daemon, it builds an index and ends. A file that lies on something that hangs costs this process, not a guest's reads.
 */
import net from 'node:net'
import process from 'node:process'
import { exit } from '../../base/exit.ts'
import { CHUNK_BYTES, CHUNK_ID_BYTES } from '../../base/limits.ts'
import { Channel, Reply, type RequestContext } from '../../ipc/channel.ts'
import type { SeedApi } from './process.ts'
import { buildSeed } from './seed-build.ts'
import { SeedReader } from './seed-reader.ts'

let reader = new SeedReader([])

const channel = new Channel(new net.Socket({ fd: 3 }), {
  build: ({ root, index, dedupKey }: SeedApi['build']['params'], { event }: RequestContext) =>
    buildSeed(root, index, Buffer.from(dedupKey, 'hex'), (done, total) => event({ done, total })),
  open: async ({ indexes }: SeedApi['open']['params']) => {
    const before = reader
    reader = new SeedReader(indexes)
    await before.close()
    return null
  },
  read: ({ counts }: SeedApi['read']['params'], { attachment }: RequestContext) =>
    read(counts, attachment)
})
channel.once('close', () => exit(0))

process.on('SIGINT', () => {})
process.on('SIGHUP', () => {})

async function read(counts: number[], ids: Buffer): Promise<Reply> {
  const seeds: number[] = []
  const found: Buffer[] = []
  const from = reader
  let at = 0
  for (const count of counts) {
    const places = from.find(ids.subarray(at, (at += count * CHUNK_ID_BYTES)))
    const data = places === null ? null : Buffer.allocUnsafe(count * CHUNK_BYTES)
    const isRead = data !== null && (await from.read(places!, data))
    seeds.push(isRead ? places![0].seed : -1)
    if (isRead) found.push(data)
  }
  return new Reply({ seeds }, found)
}
