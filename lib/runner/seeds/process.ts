/** Starts the process that touches seeds (`main.ts`). */
import { spawn, type ChildProcess } from 'node:child_process'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { NODE_ARGUMENTS, RUNNER_MALLOC } from '../../base/node-process.ts'
import { Channel } from '../../ipc/channel.ts'
import type { SeedSummary } from './seed-build.ts'

const PROGRAM = fileURLToPath(new URL('main.js', import.meta.url))

export interface SeedApi {
  /** Events `{ done, total }` in bytes. */
  build: { params: { root: string; index: string; dedupKey: string }; result: SeedSummary }
  open: { params: { indexes: string[] }; result: null }
  /**
   * Attachment: ids of the chunks of segments, so many each. Answer: the seed that each was found in, −1 for none, and
   * the chunks of those that were, one after the other.
   */
  read: { params: { counts: number[] }; result: { seeds: number[] } }
}

export interface SeedProcess {
  channel: Channel
  child: ChildProcess
}

/** No core dumps: it has keys, and data that may be a guest's. It ends with its channel. */
export function startSeedProcess(): SeedProcess {
  const child = spawn(
    'prlimit',
    ['--core=1:1', '--', process.execPath, ...NODE_ARGUMENTS, PROGRAM],
    {
      cwd: '/',
      stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
      env: { ...RUNNER_MALLOC, PATH: process.env['PATH'] }
    }
  )
  child.on('error', () => {})
  child.unref()
  return { child, channel: new Channel(child.stdio[3] as unknown as Socket) }
}
