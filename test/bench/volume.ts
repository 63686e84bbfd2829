/**
 * A blank volume (encrypted, authenticated overlay in tmpfs) behind our NBD server, as a disk and as guest RAM,
 * against qemu-nbd on a plain file in tmpfs: the same fio jobs, each server in a process of its own. Reads are of
 * data that was written before.
 */
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import path from 'node:path'
import type { BenchOptions, BenchRow } from './framework.ts'
import { startNode, startQemuNbd, stop } from './nbd-servers.ts'
import { fill, measureRow, type FioRow } from './parts/fio-row.ts'

type Job = Omit<FioRow, 'sizeBytes'>

const JOBS: Job[] = [
  { name: 'randwrite-4k-qd1', rw: 'randwrite', blockBytes: 4096, depth: 1, unit: 'iops' },
  { name: 'randwrite-4k-qd32', rw: 'randwrite', blockBytes: 4096, depth: 32, unit: 'iops' },
  { name: 'write-256k', rw: 'write', blockBytes: 256 * 1024, depth: 4, unit: 'MB/s' },
  { name: 'randread-4k-qd32', rw: 'randread', blockBytes: 4096, depth: 32, unit: 'iops' },
  { name: 'read-256k', rw: 'read', blockBytes: 256 * 1024, depth: 4, unit: 'MB/s' }
]

export async function run(opts: BenchOptions): Promise<BenchRow[]> {
  const sizeBytes = (opts.small ? 16 : opts.large ? 2048 : 512) * 1024 * 1024
  const runtimeMs = opts.small ? 100 : 2000
  const rounds = opts.rounds ?? (opts.small ? 1 : opts.large ? 9 : 5)
  const directory = await mkdtemp('/dev/shm/hyperparcel-bench-')
  const servers: ChildProcess[] = []
  try {
    const serve = (kind: string) => {
      const args = [String(sizeBytes), path.join(directory, `overlay-${kind}`), kind]
      return startNode('volume-server.js', directory, args, servers)
    }
    const disk = await serve('disk')
    const memory = await serve('memory')
    const peer = await startQemuNbd(directory, sizeBytes, servers)
    for (const server of [disk, memory, peer]) await fill(server, sizeBytes)
    const rows: BenchRow[] = []
    for (const [kind, ours] of Object.entries({ disk, memory })) {
      for (const job of JOBS) {
        const row = { ...job, name: `${kind}-${job.name}`, sizeBytes }
        if (!opts.wants(row.name)) continue
        opts.log(`${row.name}: ${rounds} rounds`)
        rows.push(await measureRow(row, ours, peer, { runtimeMs, rounds }))
      }
    }
    return rows
  } finally {
    for (const server of servers) await stop(server)
    await rm(directory, { recursive: true, force: true })
  }
}
