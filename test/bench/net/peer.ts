/**
 * One end of a transfer, a process of its own: `peer.js '{json}'`, see `PeerTask`. Ours are the real store, scheduler
 * and serving side; the peer is Hypercore's own replicator. Both over one TCP connection with
 * Noise, as on a local network.
 *
 * The serving end prints `{key}` and serves until stdin ends. The fetching end prints what it measured, and ends.
 */
import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import Corestore from 'corestore'
import HyperDHT from 'hyperdht'
import type { Connection } from 'hyperswarm'
import { systemClock } from '../../../lib/base/clock.ts'
import { createCounters } from '../../../lib/net/counters.ts'
import { Fetcher } from '../../../lib/net/fetcher.ts'
import { secure } from '../../../lib/net/lan/noise.ts'
import { Link } from '../../../lib/net/link.ts'
import { LogStore } from '../../../lib/store/log-store.ts'

export interface PeerTask {
  role: 'serve' | 'fetch'
  program: 'ours' | 'replicator'
  directory: string
  /** Where the serving end listens. */
  host: string
  port: number
  blocks: number
  blockBytes: number
  /** Hex, for the fetching end. */
  key?: string
  /** Page faults during the transfer, so many. */
  demands?: number
}

export interface Measured {
  seconds: number
  cpuSeconds: number
  bytesWasted: number
  /** Milliseconds of each demand. */
  demandsMs: number[]
}

/** What only this bench uses of a Hypercore. */
interface Replicated {
  replicate(connection: Connection): void
  update(opts: { wait: boolean }): Promise<boolean>
  download(range: { start: number; end: number }): { done(): Promise<void> }
}

const task = JSON.parse(process.argv[2]) as PeerTask
const keyPairs = {
  serve: HyperDHT.keyPair(Buffer.alloc(32, 1)),
  fetch: HyperDHT.keyPair(Buffer.alloc(32, 2))
}
process.stdin.on('end', () => process.exit())
process.stdin.resume()
if (task.program === 'ours') await ours()
else await replicator()

async function ours(): Promise<void> {
  const store = new LogStore({ directory: task.directory })
  await store.ready()
  const fetcher = new Fetcher({
    store,
    clock: systemClock,
    onviolation: (_source, err) => fail(err),
    onconflict: () => fail('a conflict')
  })
  const counters = createCounters()
  const use = (connection: Connection) =>
    new Link({
      connection,
      kind: 'lan',
      store,
      fetcher,
      handlers: {},
      counters,
      mayServe: () => true,
      endpoints: () => [],
      onendpoints: () => {},
      onready: () => {},
      onviolation: fail
    })
  if (task.role === 'serve') {
    const log = await store.current('parcel:a')
    await write((blocks) => log.append(blocks))
    await store.flush()
    await serve(use)
    return tell({ key: log.key.toString('hex') })
  }
  const key = Buffer.from(task.key!, 'hex')
  use(await connect())
  const total = task.blocks + (task.demands ?? 0)
  await fetcher.ensureLength(key, total)
  const all = Array.from({ length: task.blocks }, (_, i) => i)
  const demandsMs: number[] = []
  const measured = await measure(async () => {
    const hoard = fetcher.fetch(key, all, { priority: 'hoard' })
    for (let i = 0; i < (task.demands ?? 0); i++) {
      await systemClock.sleep(i === 0 ? 3000 : Math.random() * 200)
      const startMs = performance.now()
      // Never in order: that would be read ahead.
      const index = total - 1 - ((i * 37) % task.demands!)
      await fetcher.fetch(key, [index], { priority: 'demand' })
      demandsMs.push(performance.now() - startMs)
    }
    if (task.demands === undefined) await hoard
  })
  tell({ ...measured, bytesWasted: counters.blocksWasted * task.blockBytes, demandsMs })
  process.exit()
}

async function replicator(): Promise<void> {
  const store = new Corestore(task.directory)
  await store.ready()
  const core =
    task.role === 'serve'
      ? store.get({ name: 'a' })
      : store.get({ key: Buffer.from(task.key!, 'hex') })
  await core.ready()
  const replicated = core as unknown as Replicated
  if (task.role === 'serve') {
    await write((blocks) => core.append(blocks))
    await serve((connection) => replicated.replicate(connection))
    return tell({ key: core.key.toString('hex') })
  }
  replicated.replicate(await connect())
  while (core.length < task.blocks) await replicated.update({ wait: true })
  const measured = await measure(() => replicated.download({ start: 0, end: task.blocks }).done())
  tell({ ...measured, bytesWasted: 0, demandsMs: [] })
  process.exit()
}

async function write(append: (blocks: Buffer[]) => Promise<unknown>): Promise<void> {
  const total = task.blocks + (task.demands ?? 0)
  for (let i = 0; i < total; i += 64) {
    const count = Math.min(64, total - i)
    const data = randomFillSync(Buffer.allocUnsafe(count * task.blockBytes))
    await append(
      Array.from({ length: count }, (_, n) =>
        data.subarray(n * task.blockBytes, (n + 1) * task.blockBytes)
      )
    )
  }
}

async function serve(use: (connection: Connection) => unknown): Promise<void> {
  const server = net.createServer((socket) => {
    void secure(socket, keyPairs.serve, null).then((connection) => use(connection!))
  })
  server.listen(task.port, task.host)
  await once(server, 'listening')
}

async function connect(): Promise<Connection> {
  const { publicKey } = keyPairs.serve
  const socket = net.connect(task.port, task.host)
  await once(socket, 'connect')
  return (await secure(socket, keyPairs.fetch, publicKey))!
}

async function measure(transfer: () => Promise<unknown>) {
  const cpu = process.cpuUsage()
  const startMs = performance.now()
  await transfer()
  const seconds = (performance.now() - startMs) / 1000
  const { user, system } = process.cpuUsage(cpu)
  return { seconds, cpuSeconds: (user + system) / 1e6 }
}

function tell(result: object): void {
  process.stdout.write(`${JSON.stringify(result)}\n`)
}

function fail(err: unknown): void {
  process.stderr.write(`${String(err)}\n`)
  process.exit(1)
}
