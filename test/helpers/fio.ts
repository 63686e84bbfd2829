/** Runs one fio job, over NBD or on a file, and returns its figures. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface FioFigures {
  iops: number
  bytesPerSecond: number
  /** Of reads, from their submission to their end. */
  readP99Us: number
}

export interface FioJob {
  /** An address of NBD, or the path of a file. */
  uri: string
  rw: 'read' | 'randread' | 'write' | 'randwrite' | 'randrw'
  blockBytes: number
  depth: number
  sizeBytes: number
  runtimeMs?: number
  /** Further options, as fio has them. */
  options?: string[]
}

/** Rejects when fio fails, with what it wrote. */
export async function fio(job: FioJob): Promise<FioFigures> {
  const args = [
    '--name=job',
    ...(path.isAbsolute(job.uri)
      ? ['--ioengine=psync', `--filename=${job.uri}`]
      : ['--ioengine=nbd', `--uri=${job.uri}`]),
    `--rw=${job.rw}`,
    `--bs=${job.blockBytes}`,
    `--iodepth=${job.depth}`,
    `--size=${job.sizeBytes}`,
    '--output-format=json',
    '--verify_state_save=0',
    ...(job.runtimeMs === undefined ? [] : ['--time_based', `--runtime=${job.runtimeMs}ms`]),
    ...(job.options ?? [])
  ]
  const { stdout } = await run('fio', args, { maxBuffer: 16 * 1024 * 1024 }).catch(
    (err: { stderr?: string; message: string }) => {
      throw new Error(`fio failed: ${err.stderr || err.message}`)
    }
  )
  // fio may print notes before the JSON.
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as {
    jobs: { error: number; read: Side; write: Side }[]
  }
  const { error, read, write } = report.jobs[0]
  if (error !== 0) throw new Error(`fio ended with error ${error}`)
  return {
    iops: read.iops + write.iops,
    bytesPerSecond: read.bw_bytes + write.bw_bytes,
    readP99Us: (read.clat_ns?.percentile?.['99.000000'] ?? 0) / 1000
  }
}

interface Side {
  iops: number
  bw_bytes: number
  clat_ns?: { percentile?: Record<string, number> }
}
