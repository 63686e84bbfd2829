/**
 * Transfers between two processes. `lan-bulk`: our fetch against Hypercore's own replicator, 64 KiB blocks, over the
 * same kind of connection. As root, over an emulated link: bulk against iperf3, and page faults during a hoard.
 */
import { mkdtemp } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { cleanUp } from '../../examples/demo/clean-up.ts'
import { interleave, rowOf, type BenchOptions, type BenchRow } from './framework.ts'
import { shapedRows } from './net/shaped.ts'
import { transfer, type Transfer } from './net/transfer.ts'

const BLOCK_BYTES = 64 * 1024
const ROUNDS = 5
const SHAPED = ['bulk-100mbit-20ms', 'demand-p99-during-hoard']

export async function run(opts: BenchOptions): Promise<BenchRow[]> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'hpnet-'))
  const rows: BenchRow[] = []
  try {
    if (opts.wants('lan-bulk')) rows.push(await lanBulk(directory, opts))
    if (!opts.small && SHAPED.some(opts.wants)) {
      if (process.getuid?.() === 0) rows.push(...(await shapedRows(directory, opts)))
      else opts.log('rows over emulated links need root')
    }
  } finally {
    await cleanUp(directory, false)
  }
  return rows.filter(({ name }) => opts.wants(name))
}

async function lanBulk(directory: string, opts: BenchOptions): Promise<BenchRow> {
  const blocks = opts.small ? 64 : opts.large ? 16_384 : 4096
  const bytes = blocks * BLOCK_BYTES
  const measure = async (program: Transfer['program']) => {
    opts.log(`lan-bulk: ${program}`)
    const common = { directory, blocks, blockBytes: BLOCK_BYTES, signal: opts.signal }
    const { seconds, cpuSeconds } = await transfer({ ...common, program })
    return { value: bytes / seconds / 1e6, cpuSeconds }
  }
  const [ours, peer] = await interleave(opts.rounds ?? ROUNDS, [
    { name: 'ours', measure: () => measure('ours') },
    { name: 'Hypercore replicator', measure: () => measure('replicator') }
  ])
  const plan = { name: 'lan-bulk', unit: 'MB/s', better: 'higher', goal: 2 } as const
  return rowOf({ ...plan, dataBytes: bytes }, ours, [peer])
}
