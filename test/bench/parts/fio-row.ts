/** One fio job against our NBD server and qemu-nbd in turn: a row of a bench. */
import { fio, type FioJob } from '../../helpers/fio.ts'
import { interleave, rowOf, type BenchRow } from '../framework.ts'
import type { NbdServerProcess } from '../nbd-servers.ts'
import { cpuSeconds } from './cpu.ts'

export interface FioRow extends Pick<FioJob, 'rw' | 'blockBytes' | 'depth' | 'sizeBytes'> {
  name: string
  unit: 'iops' | 'MB/s'
  goal?: number
  details?: BenchRow['details']
}

export interface Effort {
  runtimeMs: number
  rounds: number
}

/** The CPU figures are those of the servers: fio is the same on both sides. */
export async function measureRow(
  row: FioRow,
  ours: NbdServerProcess,
  peer: NbdServerProcess,
  { runtimeMs, rounds }: Effort
): Promise<BenchRow> {
  const { name, unit, goal, details, ...job } = row
  const measure = async ({ uri, pid }: NbdServerProcess) => {
    const before = cpuSeconds(pid)
    const { iops, bytesPerSecond } = await fio({ ...job, uri, runtimeMs })
    const gigabytes = (bytesPerSecond * runtimeMs) / 1e12
    return {
      value: unit === 'iops' ? iops : bytesPerSecond / 1e6,
      cpuSeconds: (cpuSeconds(pid) - before) / gigabytes
    }
  }
  const [peers, own] = await interleave(rounds, [
    { name: 'qemu-nbd', measure: () => measure(peer) },
    { name: 'ours', measure: () => measure(ours) }
  ])
  const plan = { name, unit, better: 'higher', dataBytes: 1e9, goal, details } as const
  return rowOf(plan, own, [peers])
}

/** Writes all of it, so that nothing is allocated while it is measured. */
export async function fill(server: NbdServerProcess, sizeBytes: number): Promise<void> {
  await fio({ uri: server.uri, rw: 'write', blockBytes: 1024 * 1024, depth: 4, sizeBytes })
}
