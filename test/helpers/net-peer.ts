/**
 * A device in a process of its own: `net-peer.js DIRECTORY BOOTSTRAP TOPIC SEED MEMBERS` (hex; members by commas).
 * Obeys lines: `write COUNT BYTES` appends such blocks (content: their number, repeated) and flushes, answers the
 * log's key; `close` ends cleanly.
 */
import { createInterface } from 'node:readline'
import HyperDHT from 'hyperdht'
import { Network } from '../../lib/net/network.ts'
import { LogStore } from '../../lib/store/log-store.ts'

const [directory, bootstrap, topic, seed, members] = process.argv.slice(2)
const keys = members.split(',').map((key) => Buffer.from(key, 'hex'))
const store = new LogStore({ directory })
await store.ready()
const network = new Network({
  store,
  keyPair: HyperDHT.keyPair(Buffer.from(seed, 'hex')),
  topic: Buffer.from(topic, 'hex'),
  bootstrap: [bootstrap],
  isMember: (key) => keys.some((member) => member.equals(key)),
  members: () => keys,
  mayServe: () => true
})
await network.ready()
console.log('ready')

process.stdin.on('end', () => process.exit())

for await (const line of createInterface({ input: process.stdin })) {
  const [verb, count, bytes] = line.split(' ')
  if (verb === 'write') {
    const log = await store.current('parcel:a')
    const start = log.length
    for (let i = 0; i < Number(count); i += 64) {
      const batch = Math.min(64, Number(count) - i)
      await log.append(
        Array.from({ length: batch }, (_, n) => Buffer.alloc(Number(bytes), (start + i + n) & 255))
      )
    }
    await store.flush()
    console.log(log.key.toString('hex'))
  } else if (verb === 'close') {
    await network.close()
    await store.close()
    console.log('closed')
    break
  }
}
