/** Rows over an emulated link: two network namespaces joined by `wirefilter`. Root only. */
import { execFile, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Wan } from '../../lab/wan.ts'
import { fixed, interleave, rowOf, type BenchOptions, type BenchRow } from '../framework.ts'
import { transfer } from './transfer.ts'

const run = promisify(execFile)
const BLOCK_BYTES = 64 * 1024
const ROUNDS = 3
/** What iperf3 measures with, and about what our transfer takes. */
const SECONDS = 10
const RTT_MS = 20

export async function shapedRows(directory: string, opts: BenchOptions): Promise<BenchRow[]> {
  const wan = await Wan.open(directory, { a: ['near'], b: ['far'] })
  const rows: BenchRow[] = []
  try {
    if (opts.wants('bulk-100mbit-20ms')) rows.push(await bulk(wan, directory, opts))
    if (opts.wants('demand-p99-during-hoard')) rows.push(await demand(wan, directory, opts))
  } finally {
    await wan.close()
  }
  return rows
}

async function bulk(wan: Wan, directory: string, opts: BenchOptions): Promise<BenchRow> {
  await wan.join('a', 'b', { mbps: 100, rttMs: RTT_MS })
  const [near, far] = [wan.host('near'), wan.host('far')]
  const blocks = Math.round((SECONDS * 12.5e6) / BLOCK_BYTES)
  const bytes = blocks * BLOCK_BYTES
  const measure = async () => {
    opts.log('bulk-100mbit-20ms: ours')
    const common = { directory, blocks, blockBytes: BLOCK_BYTES, near, far, signal: opts.signal }
    const { seconds, cpuSeconds } = await transfer({ ...common, program: 'ours' })
    return { value: (bytes * 8) / seconds / 1e6, cpuSeconds }
  }
  const iperf = async () => {
    opts.log('bulk-100mbit-20ms: iperf3')
    const [program, ...args] = [...far.through, 'iperf3', '-s', '-1']
    const server = spawn(program, args, { stdio: 'ignore' })
    await sleep(500)
    const [client, ...more] = [...near.through, 'iperf3', '-J', '-R', '-t', String(SECONDS)]
    const { stdout } = await run(client, [...more, '-c', far.address], { signal: opts.signal })
    server.kill()
    const { end } = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } }
    return { value: end.sum_received.bits_per_second / 1e6 }
  }
  const [ours, peer] = await interleave(opts.rounds ?? ROUNDS, [
    { name: 'ours', measure },
    { name: 'iperf3', measure: iperf }
  ])
  return rowOf({ ...PLAN, dataBytes: bytes }, ours, [peer])
}

const PLAN = { name: 'bulk-100mbit-20ms', unit: 'Mb/s', better: 'higher', goal: 0.93 } as const

async function demand(wan: Wan, directory: string, opts: BenchOptions): Promise<BenchRow> {
  await wan.join('a', 'b', { mbps: 10, rttMs: RTT_MS })
  const [near, far] = [wan.host('near'), wan.host('far')]
  const [blocks, demands] = [2000, 200]
  const common = { directory, blocks, demands, blockBytes: BLOCK_BYTES, near, far }
  const measure = async () => {
    opts.log('demand-p99-during-hoard: ours')
    const { demandsMs } = await transfer({
      ...common,
      program: 'ours',
      signal: opts.signal
    })
    const sorted = demandsMs.toSorted((a, b) => a - b)
    return { value: sorted[Math.ceil(sorted.length * 0.99) - 1] }
  }
  const [ours] = await interleave(opts.rounds ?? 1, [{ name: 'ours', measure }])
  const limitMs = 2 * RTT_MS + (3 * BLOCK_BYTES) / 1250
  const plan = { name: 'demand-p99-during-hoard', unit: 'ms', better: 'lower', goal: 1 } as const
  return rowOf(plan, ours, [fixed('2 round trips and 3 segments', limitMs)])
}
