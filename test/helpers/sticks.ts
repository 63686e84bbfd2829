/** Sticks for tests: logs of one store copied to a folder, and read by another store through the Fetcher. */
import { readdirSync } from 'node:fs'
import path from 'node:path'
import type { Assert } from 'brittle'
import { systemClock } from '../../lib/base/clock.ts'
import type { LookasideCalls } from '../../lib/daemon/lookaside/process.ts'
import { StickCopy, type Needed } from '../../lib/daemon/lookaside/stick-copy.ts'
import { StickSource } from '../../lib/daemon/lookaside/stick-source.ts'
import { Reply, type CallOptions, type RequestContext } from '../../lib/ipc/channel.ts'
import type { Looked } from '../../lib/lookaside/protocol.ts'
import { Worker } from '../../lib/lookaside/worker.ts'
import { Fetcher } from '../../lib/net/fetcher.ts'
import { Locals } from '../../lib/net/local-source.ts'
import type { LogStore } from '../../lib/store/log-store.ts'
import type { Log } from '../../lib/store/ports.ts'

export const STICK_KEY = Buffer.alloc(32, 7)
export const PARCEL = Buffer.alloc(16, 9)

/** The handlers of the process, in this one. */
export class NearbyProcess {
  readonly worker = new Worker()
  readonly #handlers = this.worker.handlers()

  constructor(key = STICK_KEY) {
    void this.#handlers['start']({ stickKey: key.toString('hex') }, context())
  }

  /** As the daemon asks it. */
  get calls(): LookasideCalls {
    return {
      call: async (method, params, opts) => (await this.#ask(method, params, opts)).json as never,
      callRaw: async (method, params, opts) => (await this.#ask(method, params, opts)) as never
    }
  }

  async look(at: string): Promise<Looked> {
    return (await this.calls.call('look', { paths: [at] })).found[0]
  }

  async #ask(
    method: string,
    params: unknown,
    opts: CallOptions = {}
  ): Promise<{ json: unknown; attachment: Buffer }> {
    const attachment = Buffer.concat(opts.attachments ?? [])
    const answer = await this.#handlers[method](params, { ...context(), attachment })
    if (!(answer instanceof Reply)) return { json: answer ?? null, attachment: Buffer.alloc(0) }
    return { json: answer.json, attachment: Buffer.concat(answer.attachments) }
  }
}

function context(): RequestContext {
  const { signal } = new AbortController()
  return { attachment: Buffer.alloc(0), recycle() {}, signal, event() {} }
}

export interface FillOptions {
  partBytes?: number
  lengths?: number[]
  /** Aborts the fill after so many bytes. */
  stopAfter?: number
}

/** Fills a stick with these blocks of a log, or all. */
export async function fillStick(
  process: NearbyProcess,
  stick: string,
  log: Log,
  runs: Needed['runs'] = [[0, log.durableLength]],
  { partBytes, lengths = [], stopAfter }: FillOptions = {}
): Promise<{ bytes: number; written: number }> {
  const parcel = PARCEL.toString('hex')
  const { fill } = await process.calls.call('fill.begin', {
    path: stick,
    parcel,
    cards: [],
    partBytes
  })
  const stop = new AbortController()
  const progress = ({ done = 0 }) => {
    if (stopAfter !== undefined && done >= stopAfter) stop.abort(new Error('stopped'))
  }
  const copy = new StickCopy(process.calls, fill, { signal: stop.signal, progress })
  try {
    const version = { id: '11'.repeat(32), number: 1, parcel, annex: null }
    return await copy.run([{ log, runs, lengths }], version)
  } catch (err) {
    await process.calls.call('fill.stop', { fill })
    throw err
  }
}

/** A store that fetches from sticks only, or from what else is added. */
export class Reader {
  readonly store: LogStore
  readonly fetcher: Fetcher
  readonly locals: Locals
  readonly violations: string[] = []

  constructor(t: Assert, store: LogStore) {
    this.store = store
    this.fetcher = new Fetcher({
      store,
      clock: systemClock,
      onviolation: (source, err) => {
        this.violations.push(err.message)
        this.locals.fail(source.key, err)
      },
      onconflict: () => this.violations.push('conflict')
    })
    this.locals = new Locals(this.fetcher)
    t.teardown(() => this.fetcher.close(), { order: -3 })
  }

  /** Uses what is on that stick. */
  async plug(process: NearbyProcess, stick: string): Promise<StickSource[]> {
    const { sticks } = await process.look(stick)
    return sticks.map(
      (info) =>
        new StickSource({
          info,
          network: this,
          store: this.store,
          process: process.calls,
          onbad() {}
        })
    )
  }
}

/** Files of a stick, in an order that stays. */
export function filesOf(stick: string): string[] {
  return readdirSync(stick, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort()
}
