/**
 * Sealed blocks for the runner: from the store on this disk by our own read-only opening of it, else from the
 * daemon, which fetches what is missing. Waits without limit, also where the daemon cannot give a block at the
 * moment (a full disk, a store that is being closed): only data that is proven bad fails a read.
 *
 * The read-only opening sees the store as it was when it was opened, so the daemon's answer is the rule for
 * newer blocks; when the daemon is gone the opening is renewed and asked again.
 */
import { once, setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BlockReader } from '../parcel/block-reader.ts'
import type { Host } from './host.ts'
import type { LogTable } from '../parcel/log-table.ts'

/** The store on this disk, read by a second process (`lib/store/read-only-store.ts`). */
export interface LocalBlocks {
  read(log: Buffer, index: number): Promise<Buffer | null>
  /** Opens it anew to see newer blocks. */
  refresh(): Promise<boolean>
}

/** All of them as large as a block may be fit into one frame. */
const BLOCKS_PER_REQUEST = 16
const RETRY_MS = 500
/** What no waiting mends. */
const FINAL = new Set(['DATA_CORRUPT', 'FORMAT_INVALID', 'FORMAT_TOO_NEW', 'KEY_MISSING'])

export class BlockSource implements BlockReader {
  readonly #host: Host
  readonly #local: LocalBlocks
  readonly #logs: LogTable
  readonly #waiting = new Map<number, number>()
  readonly #givenUp = new AbortController()
  #nextWait = 0
  /** Blocks that came through the daemon. */
  remoteBlocks = 0

  constructor(host: Host, local: LocalBlocks, logs: LogTable) {
    this.#host = host
    this.#local = local
    this.#logs = logs
    setMaxListeners(0, this.#givenUp.signal) // one for each read that waits
    host.on('detach', () => {
      local.refresh().catch(() => {})
    })
  }

  /** Milliseconds that the oldest read has been waiting; 0 when none waits. */
  get waitingMs(): number {
    const first = this.#waiting.values().next().value
    return first === undefined ? 0 : performance.now() - first
  }

  async read(logNumber: number, blocks: number[], onmissing?: () => void): Promise<Buffer[]> {
    const log = this.#logs.keyOf(logNumber)
    const found = await Promise.all(blocks.map((block) => this.#local.read(log, block)))
    const missing = blocks.map((_, i) => i).filter((i) => found[i] === null)
    if (missing.length > 0) onmissing?.()
    const requests: Promise<void>[] = []
    for (let at = 0; at < missing.length; at += BLOCKS_PER_REQUEST) {
      const some = missing.slice(at, at + BLOCKS_PER_REQUEST)
      requests.push(
        this.#wait(
          log,
          some.map((i) => blocks[i])
        ).then((fetched) => some.forEach((i, n) => (found[i] = fetched[n])))
      )
    }
    await Promise.all(requests)
    return found as Buffer[]
  }

  async stored(logNumber: number, blocks: number[]): Promise<boolean[]> {
    const log = this.#logs.keyOf(logNumber)
    const found = await Promise.all(blocks.map((block) => this.#local.read(log, block)))
    return found.map((block) => block !== null)
  }

  /** Nobody waits for these yet. Resolves when they are stored here, with how many had to come from peers. */
  async fetchAhead(logNumber: number, blocks: number[]): Promise<number> {
    const params = { log: this.#logs.keyOf(logNumber).toString('hex'), blocks }
    const { json } = await this.#host.call('blocks.fetch', params, { signal: this.#givenUp.signal })
    return json.missing
  }

  /** A block of any log; `urgent`: a guest waits for it. */
  async readAny(log: Buffer, block: number, urgent: boolean): Promise<Buffer> {
    const found = await this.#local.read(log, block)
    return found ?? (await this.#wait(log, [block], urgent))[0]
  }

  /** Whoever waits, now or later, gets that error. Only while no guest runs: its reads wait without limit. */
  giveUp(reason: Error): void {
    this.#givenUp.abort(reason)
  }

  async #wait(log: Buffer, blocks: number[], urgent = true): Promise<Buffer[]> {
    const { signal } = this.#givenUp
    const wait = this.#nextWait++
    if (urgent) this.#waiting.set(wait, performance.now())
    try {
      for (;;) {
        signal.throwIfAborted()
        if (!this.#host.attached) {
          const local = await this.#readLocal(log, blocks)
          if (local !== null) return local
          if (!this.#host.attached) await once(this.#host, 'attach', { signal })
        }
        const fetched = await this.#ask(log, blocks, urgent)
        if (fetched !== null) return fetched
        if (this.#host.attached) await sleep(RETRY_MS, undefined, { signal })
      }
    } catch (err) {
      signal.throwIfAborted() // the reason, not that something was aborted
      throw err
    } finally {
      this.#waiting.delete(wait)
    }
  }

  /** Null when it could not be had for now: the daemon went away, its disk is full. A guest never learns of that. */
  async #ask(log: Buffer, blocks: number[], urgent: boolean): Promise<Buffer[] | null> {
    try {
      const params = { log: log.toString('hex'), blocks, ahead: !urgent }
      const { signal } = this.#givenUp
      const { json, attachment } = await this.#host.call('blocks', params, { signal })
      this.remoteBlocks += blocks.length
      let at = 0
      return json.lengths.map((length) => attachment.subarray(at, (at += length)))
    } catch (err) {
      if (FINAL.has((err as { code?: string }).code ?? '')) throw err
      return null
    }
  }

  /** Without a daemon: what was stored up to its end. Null unless all of it is there. */
  async #readLocal(log: Buffer, blocks: number[]): Promise<Buffer[] | null> {
    await this.#local.refresh()
    const local = await Promise.all(blocks.map((block) => this.#local.read(log, block)))
    return local.every((block) => block !== null) ? local : null
  }
}
