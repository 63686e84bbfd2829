/**
 * A process that owns a store: `store-writer.js DIRECTORY`. Prints the key of its log, then obeys lines:
 * `append N` N blocks of 8 KiB, `flush`, `churn N` appends, clears, flushes and compacts N times, `close`.
 * Answers each with `ok <length>`.
 */
import { createInterface } from 'node:readline'
import { LogStore } from '../../lib/store/log-store.ts'

const store = new LogStore({ directory: process.argv[2] })
await store.ready()
const log = await store.current('parcel:a')
console.log(log.key.toString('hex'))

for await (const line of createInterface({ input: process.stdin })) {
  const [verb, count] = line.split(' ')
  if (verb === 'append') await append(Number(count))
  else if (verb === 'flush') await store.flush()
  else if (verb === 'churn') await churn(Number(count))
  else if (verb === 'close') await store.close()
  console.log(`ok ${log.length}`)
  if (verb === 'close') break
}

async function append(count: number): Promise<void> {
  const start = log.length
  await log.append(Array.from({ length: count }, (_, i) => Buffer.alloc(8192, (start + i) & 255)))
}

/** Every second block of what was added goes away again, so that compaction has files to rewrite. */
async function churn(times: number): Promise<void> {
  for (let n = 0; n < times; n++) {
    const start = log.length
    await append(64)
    await store.flush()
    for (let i = start; i < log.length; i += 2) await log.clear(i, i + 1)
    await store.flush()
    await store.compact()
  }
}
