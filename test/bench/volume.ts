/**
 * A blank volume (encrypted, authenticated overlay in tmpfs) behind our NBD server, as a disk and as guest RAM,
 * against qemu-nbd on a plain file in tmpfs: the same fio jobs, each server in a process of its own. Reads are of
 * data that was written before.
 */
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import path from 'node:path'
import { fio, type FioFigures, type FioJob } from '../helpers/fio.ts'
import { compare, type BenchOptions, type BenchRow } from './framework.ts'
import { startNode, startQemuNbd, stop } from './nbd-servers.ts'

type Job = Pick<FioJob, 'rw' | 'blockBytes' | 'depth'> & { name: string; unit: 'iops' | 'MB/s' }

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
    for (const uri of [disk, memory, peer]) {
      await fio({ uri, rw: 'write', blockBytes: 1024 * 1024, depth: 4, sizeBytes })
    }
    const rows: BenchRow[] = []
    for (const [kind, uri] of [
      ['disk', disk],
      ['memory', memory]
    ] as const) {
      for (const job of JOBS) {
        const name = `${kind}-${job.name}`
        opts.log(`${name}: ${rounds} rounds`)
        const measure = async (at: string) =>
          figure(job, await fio({ ...job, uri: at, sizeBytes, runtimeMs }))
        const both = { ours: () => measure(uri), peer: () => measure(peer) }
        const row = { name, unit: job.unit, peerName: 'qemu-nbd', better: 'higher' as const }
        rows.push(await compare({ ...row, ...both }, rounds))
      }
    }
    return rows
  } finally {
    for (const server of servers) await stop(server)
    await rm(directory, { recursive: true, force: true })
  }
}

function figure(job: Job, { iops, bytesPerSecond }: FioFigures): number {
  return job.unit === 'iops' ? iops : bytesPerSecond / 1e6
}
