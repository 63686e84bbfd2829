/**
 * Our NBD server on memory against qemu-nbd on a file in tmpfs: the same fio jobs, each server in a process of
 * its own, all data allocated beforehand.
 */
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { fio, type FioFigures, type FioJob } from '../helpers/fio.ts'
import { compare, type BenchOptions, type BenchRow } from './framework.ts'
import { startNode, startQemuNbd, stop } from './nbd-servers.ts'

type Row = Pick<FioJob, 'rw' | 'blockBytes' | 'depth'> & { name: string; unit: 'iops' | 'MB/s' }

const ROWS: Row[] = [
  { name: 'randread-4k-qd1', rw: 'randread', blockBytes: 4096, depth: 1, unit: 'iops' },
  { name: 'randread-4k-qd32', rw: 'randread', blockBytes: 4096, depth: 32, unit: 'iops' },
  { name: 'read-256k', rw: 'read', blockBytes: 256 * 1024, depth: 8, unit: 'MB/s' },
  { name: 'randwrite-4k-qd32', rw: 'randwrite', blockBytes: 4096, depth: 32, unit: 'iops' }
]

export async function run(opts: BenchOptions): Promise<BenchRow[]> {
  const sizeBytes = (opts.small ? 16 : opts.large ? 2048 : 512) * 1024 * 1024
  const runtimeMs = opts.small ? 100 : 1000
  const rounds = opts.rounds ?? (opts.small ? 1 : opts.large ? 15 : 9)
  const directory = await mkdtemp('/dev/shm/hyperparcel-bench-')
  const servers: ChildProcess[] = []
  try {
    const ours = await startNode('memory-server.js', directory, [String(sizeBytes)], servers)
    const peer = await startQemuNbd(directory, sizeBytes, servers)
    for (const uri of [ours, peer]) {
      await fio({ uri, rw: 'write', blockBytes: 1024 * 1024, depth: 4, sizeBytes })
    }
    const rows: BenchRow[] = []
    for (const row of ROWS) {
      opts.log(`${row.name}: ${rounds} rounds`)
      const measure = async (uri: string) =>
        figure(row, await fio({ ...row, uri, sizeBytes, runtimeMs }))
      const { name, unit } = row
      const both = { ours: () => measure(ours), peer: () => measure(peer) }
      rows.push(
        await compare({ name, unit, peerName: 'qemu-nbd', better: 'higher', ...both }, rounds)
      )
    }
    return rows
  } finally {
    for (const server of servers) await stop(server)
    await rm(directory, { recursive: true, force: true })
  }
}

function figure(row: Row, { iops, bytesPerSecond }: FioFigures): number {
  return row.unit === 'iops' ? iops : bytesPerSecond / 1e6
}
