/** Starts both ends of a transfer, and tells what was measured. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { HyperparcelError } from '../../../lib/base/errors.ts'
import type { Measured, PeerTask } from './peer.ts'

const PROGRAM = path.join(import.meta.dirname, 'peer.js')

export interface Transfer {
  program: PeerTask['program']
  /** For the stores of both. */
  directory: string
  blocks: number
  blockBytes: number
  demands?: number
  /** What starts a program at either end, and their addresses; the same machine by default. */
  near?: TransferEnd
  far?: TransferEnd
  signal: AbortSignal
}

export interface TransferEnd {
  through: string[]
  address: string
}

const HERE: TransferEnd = { through: [], address: '127.0.0.1' }
let nextPort = 21_000 + (process.pid % 20_000)

export async function transfer(opts: Transfer): Promise<Measured> {
  const { near = HERE, far = HERE, signal, directory, ...rest } = opts
  const place = await mkdtemp(path.join(directory, 'transfer-'))
  const port = nextPort++
  const children: ChildProcess[] = []
  const begin = (end: TransferEnd, task: PeerTask) => {
    const [command, ...args] = [...end.through, process.execPath, PROGRAM, JSON.stringify(task)]
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], signal })
    children.push(child)
    return child
  }
  try {
    const common = { program: rest.program, blocks: rest.blocks }
    const sizes = {
      blockBytes: rest.blockBytes,
      ...(rest.demands === undefined ? {} : { demands: rest.demands })
    }
    const server = begin(far, {
      ...common,
      ...sizes,
      role: 'serve',
      directory: path.join(place, 'far'),
      host: far.address,
      port
    })
    const { key } = (await answer(server)) as { key: string }
    const fetching = begin(near, {
      ...common,
      ...sizes,
      role: 'fetch',
      directory: path.join(place, 'near'),
      host: far.address,
      port,
      key
    })
    return (await answer(fetching)) as Measured
  } finally {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    await rm(place, { recursive: true, force: true })
  }
}

async function answer(child: ChildProcess): Promise<unknown> {
  for await (const line of createInterface({ input: child.stdout! })) return JSON.parse(line)
  throw new HyperparcelError('BENCH_FAILED', 'One end of a transfer ended early')
}
