/**
 * A volume of a version behind our NBD server, as a runner serves it, against qemu-nbd on a raw file in tmpfs: the
 * same fio jobs, each server in a process of its own. Reads are of data that was decoded before and fits into the
 * cache of decoded segments; writes go to the encrypted overlay, in tmpfs too, after all of the volume was written
 * once.
 */
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import path from 'node:path'
import type { BenchOptions, BenchRow } from './framework.ts'
import { startNode, startQemuNbd, stop } from './nbd-servers.ts'
import { fill, measureRow, type FioRow } from './parts/fio-row.ts'

const MIB = 1024 * 1024
/** The runner's cache holds 64 MiB. */
const CACHED_BYTES = 48 * MIB
const BLOCK = 4096

export async function run(opts: BenchOptions): Promise<BenchRow[]> {
  const volumeBytes = (opts.small ? 16 : opts.large ? 2048 : 512) * MIB
  const dataBytes = opts.small ? 4 * MIB : CACHED_BYTES
  const runtimeMs = opts.small ? 100 : 2000
  const rounds = opts.rounds ?? (opts.small ? 1 : opts.large ? 15 : 9)
  const rows = planRows(dataBytes, volumeBytes).filter(({ name }) => opts.wants(name))
  const directory = await mkdtemp('/dev/shm/hyperparcel-bench-')
  const servers: ChildProcess[] = []
  try {
    const args = [String(volumeBytes), String(dataBytes), path.join(directory, 'overlay')]
    const ours = await startNode('version-server.js', directory, args, servers)
    const peer = await startQemuNbd(directory, volumeBytes, servers)
    await fill(peer, volumeBytes)
    const measured: BenchRow[] = []
    for (const row of rows) {
      opts.log(`${row.name}: ${rounds} rounds`)
      if (row.rw === 'randwrite') await fill(ours, volumeBytes)
      measured.push(await measureRow(row, ours, peer, { runtimeMs, rounds }))
    }
    return measured
  } finally {
    for (const server of servers) await stop(server)
    await rm(directory, { recursive: true, force: true })
  }
}

/** Writes come last: what was written is not read from the version any more. */
function planRows(dataBytes: number, volumeBytes: number): FioRow[] {
  const details = { data_bytes: dataBytes }
  const read = { sizeBytes: dataBytes, details }
  return [
    {
      name: 'randread-4k-qd32',
      rw: 'randread',
      blockBytes: BLOCK,
      depth: 32,
      unit: 'iops',
      goal: 2,
      ...read
    },
    {
      name: 'randread-4k-qd1',
      rw: 'randread',
      blockBytes: BLOCK,
      depth: 1,
      unit: 'iops',
      goal: 1,
      ...read
    },
    {
      name: 'read-256k',
      rw: 'read',
      blockBytes: 256 * 1024,
      depth: 8,
      unit: 'MB/s',
      goal: 2,
      ...read
    },
    {
      name: 'randwrite-4k-qd32',
      rw: 'randwrite',
      blockBytes: BLOCK,
      depth: 32,
      unit: 'iops',
      goal: 1,
      sizeBytes: volumeBytes,
      details: { data_bytes: volumeBytes }
    }
  ]
}
