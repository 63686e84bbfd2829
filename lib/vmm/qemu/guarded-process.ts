/**
 * A child process that may hold guest memory: no core dump of it, nothing that it makes is open to others, and it
 * dies with us. Its stderr stays in a ring.
 *
 * RLIMIT_CORE is 1, not 0: the kernel then refuses a dump to a pipe (systemd-coredump, apport) too, see core(5).
 */
import { spawn, type ChildProcess } from 'node:child_process'
import type { Socket } from 'node:net'
import { TextRing } from './ring.ts'

/** Sockets and files that the child makes are 0600. */
const SCRIPT = 'umask 177; exec "$@"'

export interface ProcessExit {
  code: number | null
  signal: NodeJS.Signals | null
}

export class GuardedProcess {
  readonly #child: ChildProcess
  readonly #ring = new TextRing()
  /** Resolves when it is gone; never rejects. */
  readonly exited: Promise<ProcessExit>
  #exit: ProcessExit | null = null

  /** `channels`: how many sockets the child finds as descriptors 3, 4, …; ours are in `channel(n)`. */
  constructor(command: string, args: string[], channels = 0) {
    const wrapped = ['--core=1:1', 'setpriv', '--pdeathsig', 'KILL', '--', 'sh', '-c', SCRIPT, 'sh']
    this.#child = spawn('prlimit', [...wrapped, command, ...args], {
      stdio: ['ignore', 'ignore', 'pipe', ...Array<'pipe'>(channels).fill('pipe')],
      detached: true, // a terminal's Ctrl-C is not for it
      env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C.UTF-8' }
    })
    this.#child.stderr!.on('data', (data: Buffer) => this.#ring.push(data))
    this.exited = new Promise((resolve) => {
      const done = (code: number | null, signal: NodeJS.Signals | null) => {
        this.#exit = { code, signal }
        resolve(this.#exit)
      }
      this.#child.on('exit', done)
      this.#child.on('error', (err) => {
        this.#ring.push(Buffer.from(err.message))
        if (this.#child.pid === undefined) done(127, null)
      })
    })
  }

  /** -1 when it did not even start. */
  get pid(): number {
    return this.#child.pid ?? -1
  }

  /** Null while it lives. */
  get exit(): ProcessExit | null {
    return this.#exit
  }

  /** Our end of the child's descriptor 3, 4, …. */
  channel(descriptor: number): Socket {
    return this.#child.stdio[descriptor] as Socket
  }

  /** The last lines of its stderr. */
  message(lines = 5): string {
    return this.#ring.last(lines)
  }

  /** SIGKILL; true when it was gone in time. A process in an uninterruptible call may outlive that. */
  async kill(timeoutMs: number): Promise<boolean> {
    if (this.#exit === null) this.#child.kill('SIGKILL')
    return this.waitExit(timeoutMs)
  }

  async waitExit(timeoutMs: number): Promise<boolean> {
    if (this.#exit !== null) return true
    let timer: NodeJS.Timeout
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, timeoutMs, false)
    })
    const gone = this.exited.then(() => true)
    return Promise.race([gone, late]).finally(() => clearTimeout(timer))
  }
}
