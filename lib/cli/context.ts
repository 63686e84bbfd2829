/** What a command gets: where its home is, how to talk to the user and to the daemon, and when to give up. */
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline/promises'
import type { Readable } from 'node:stream'
import { systemClock, type Clock } from '../base/clock.ts'
import { HyperparcelError } from '../base/errors.ts'
import { openHome, resolveHome, type HomePaths } from '../base/paths.ts'
import { METHODS, type ApiEvent, type MethodName, type Params, type Result } from '../daemon/api.ts'
import {
  connectDaemon,
  connectOrStartDaemon,
  daemonGone,
  type DaemonClient
} from '../daemon/client.ts'
import { programText, typedHint } from './typed.ts'
import { JsonLinesRenderer } from './ui/json-lines.ts'
import { PhaseRenderer } from './ui/phases.ts'
import { quietRenderer, type Output, type Renderer } from './ui/renderer.ts'
import { TerminalRenderer } from './ui/terminal.ts'

/** The world outside, so that tests can own it. */
export interface Io {
  stdin: Readable & { isTTY?: boolean; setRawMode?(raw: boolean): unknown }
  stdout: Output
  stderr: Output
  env: NodeJS.ProcessEnv
  cwd: string
  clock: Clock
}

export const processIo: Io = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  cwd: process.cwd(),
  clock: systemClock
}

export interface GlobalOptions {
  home?: string
  json?: boolean
  quiet?: boolean
}

export interface RequestOptions {
  onevent?: (event: ApiEvent) => void
  /** Obeys only this, for what has to happen after a Ctrl-C. */
  signal?: AbortSignal
  /** After a Ctrl-C the daemon's answer still counts for that long. */
  settleMs?: number
}

export class Context {
  readonly io: Io
  readonly json: boolean
  readonly quiet: boolean
  /** Aborts with `INTERRUPTED` on Ctrl-C. */
  readonly signal: AbortSignal
  readonly renderer: Renderer
  readonly #homeOption: string | undefined
  #paths: HomePaths | null = null
  #client: DaemonClient | null = null

  constructor(io: Io, options: GlobalOptions, signal: AbortSignal) {
    this.io = io
    this.json = options.json === true
    this.quiet = options.quiet === true
    this.signal = signal
    this.#homeOption = options.home
    this.renderer = chooseRenderer(io, this.json, this.quiet)
  }

  /** The home's path; nothing is created. */
  get home(): string {
    return resolveHome(this.#homeOption, this.io.env)
  }

  async paths(): Promise<HomePaths> {
    this.#paths ??= await openHome(this.home, this.io.env)
    return this.#paths
  }

  /** Asks the daemon, which is started where none runs. Shows progress. */
  async request<M extends MethodName>(
    method: M,
    params: Params<M>,
    opts: RequestOptions = {}
  ): Promise<Result<M>> {
    if (METHODS[method].withoutFleet !== true) await requireFleet(this.home)
    const paths = await this.paths()
    this.#client ??= await connectOrStartDaemon(paths, { signal: this.signal })
    const onevent = (event: ApiEvent) => {
      this.renderer.progress(event)
      opts.onevent?.(event)
    }
    try {
      return await this.#client.call(method, params, {
        signal: opts.signal ?? this.signal,
        settleMs: opts.settleMs,
        onevent
      })
    } finally {
      this.renderer.clear()
    }
  }

  /** As `request`, but null where no daemon runs. */
  async requestIfRunning<M extends MethodName>(
    method: M,
    params: Params<M>
  ): Promise<Result<M> | null> {
    this.#client ??= await connectDaemon(await this.paths())
    if (this.#client === null) return null
    return this.#client.call(method, params, { signal: this.signal })
  }

  /** Waits for Ctrl-C. Rejects with `DAEMON_GONE` when the daemon that was asked before ends. */
  async interrupted(): Promise<void> {
    if (this.signal.aborted) return
    const stop = new Promise<boolean>((resolve) => {
      this.signal.addEventListener('abort', () => resolve(true), { once: true })
    })
    const gone = this.#client?.closed.then(() => false) ?? stop
    if (!(await Promise.race([stop, gone]))) throw daemonGone()
  }

  /** A command as this user has to type it: with `--home` where it was given. */
  typed(command: string): string {
    return `${programText(this.#homeOption)} ${command}`
  }

  /** A remark for people, on stderr: not with `--json` or `--quiet`. */
  note(text: string): void {
    if (this.json || this.quiet) return
    this.renderer.clear()
    this.io.stderr.write(`${typedHint(text, this.#homeOption)}\n`)
  }

  /** A line on stdout before the outcome, where the user needs it early. */
  print(text: string): void {
    this.renderer.clear()
    this.io.stdout.write(`${text}\n`)
  }

  /** As `confirm`, for what is done to a parcel: one that is not there is no question. Rejects with `PARCEL_NOT_FOUND` too. */
  async confirmFor(name: string, question: string, yes: boolean | undefined): Promise<void> {
    if (yes === true) return
    await this.request('lease', { name })
    await this.confirm(question, yes)
  }

  /** Asks before something is destroyed. Rejects with `CONFIRM` without a terminal, and on a no. */
  async confirm(question: string, yes: boolean | undefined): Promise<void> {
    if (yes === true) return
    if (this.json || this.io.stdin.isTTY !== true || this.io.stderr.isTTY !== true) {
      throw new HyperparcelError('CONFIRM', `${question} Nothing was done.`, {
        hint: 'Say --yes to do it without being asked.'
      })
    }
    const lines = createInterface({ input: this.io.stdin, output: process.stderr })
    try {
      const answer = await lines.question(`${question} [y/N] `, { signal: this.signal })
      if (/^y(es)?$/i.test(answer.trim())) return
      throw new HyperparcelError('CONFIRM', 'Nothing was done.')
    } finally {
      lines.close()
    }
  }

  close(): void {
    this.renderer.clear()
    this.#client?.close()
  }
}

function chooseRenderer(io: Io, json: boolean, quiet: boolean): Renderer {
  if (quiet) return quietRenderer
  if (json) return new JsonLinesRenderer(io.stderr, io.clock)
  const { stderr, clock } = io
  return stderr.isTTY === true
    ? new TerminalRenderer(stderr, clock)
    : new PhaseRenderer(stderr, clock)
}

/** Saves making a home, and starting a daemon, that could only say so: without keys there is no fleet. */
async function requireFleet(home: string): Promise<void> {
  const keys = await readdir(path.join(home, 'keys')).catch((err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT') return []
    return null // told by what comes next
  })
  if (keys === null || keys.length > 0) return
  throw new HyperparcelError('NO_FLEET', `The home ${home} belongs to no fleet yet`, {
    hint: 'Start a fleet with `hyperparcel init`, or join one with `hyperparcel join INVITE`.'
  })
}
