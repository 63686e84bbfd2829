/** The process that touches what lies nearby, started when it is first asked and again when it ended. */
import { spawn, type ChildProcess } from 'node:child_process'
import { open } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { DAEMON_MALLOC, NODE_ARGUMENTS } from '../../base/node-process.ts'
import { Channel, type Answer, type CallOptions } from '../../ipc/channel.ts'
import type { LookasideApi } from '../../lookaside/protocol.ts'

const PROGRAM = fileURLToPath(new URL('../../lookaside/main.js', import.meta.url))

export interface LookasideProcessOptions {
  stickKey: Buffer
  logFile: string
  /** It ended by itself, or was killed: another one knows of nothing until it has looked. */
  onend?(): void
}

/** How it is asked. */
export type LookasideCalls = Pick<LookasideProcess, 'call' | 'callRaw'>

export class LookasideProcess {
  readonly #opts: LookasideProcessOptions
  #started: Promise<Channel> | null = null
  #child: ChildProcess | null = null
  #closed = false

  constructor(opts: LookasideProcessOptions) {
    this.#opts = opts
  }

  /** Rejects with the process's error, or with `CHANNEL_CLOSED` when it ended. */
  async call<M extends keyof LookasideApi>(
    method: M,
    params: LookasideApi[M]['params'],
    opts: CallOptions = {}
  ): Promise<LookasideApi[M]['result']> {
    return (await this.callRaw(method, params, opts)).json
  }

  /** As `call`, with the bytes that came along. */
  async callRaw<M extends keyof LookasideApi>(
    method: M,
    params: LookasideApi[M]['params'],
    opts: CallOptions = {}
  ): Promise<Answer<LookasideApi[M]['result']>> {
    this.#started ??= this.#start()
    return (await this.#started).callRaw(method, params, opts)
  }

  /** It hangs on something that does not answer: the next call starts another one. */
  kill(): void {
    this.#child?.kill('SIGKILL')
  }

  /** It ends by itself when nobody talks to it any more. */
  async close(): Promise<void> {
    this.#closed = true
    const channel = await this.#started?.catch(() => null)
    channel?.close()
  }

  async #start(): Promise<Channel> {
    const log = await open(this.#opts.logFile, 'a', 0o600)
    try {
      // No core dumps: it has a key.
      const program = [process.execPath, ...NODE_ARGUMENTS, PROGRAM]
      const child = spawn('prlimit', ['--core=1:1', '--', ...program], {
        cwd: '/',
        stdio: ['ignore', log.fd, log.fd, 'pipe'],
        env: { ...DAEMON_MALLOC, PATH: process.env['PATH'], UV_THREADPOOL_SIZE: '8' }
      })
      this.#child = child
      child.on('error', () => {})
      const channel = new Channel(child.stdio[3] as unknown as Socket)
      channel.once('close', () => {
        this.#started = null
        this.#child = null
        if (!this.#closed) this.#opts.onend?.()
      })
      await channel.call('start', { stickKey: this.#opts.stickKey.toString('hex') })
      if (this.#closed) channel.close()
      return channel
    } catch (err) {
      this.#started = null
      throw err
    } finally {
      await log.close()
    }
  }
}
