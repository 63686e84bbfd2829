/**
 * A stick as a source for the Fetcher. What it says is out of an index that only a device of the fleet can have written;
 * its blocks are checked against that by the process that reads them, and against the log's signed tree here, as any
 * peer's. What does not fit is said to be unavailable, and comes from elsewhere.
 *
 * A log may have grown since the stick was filled. Then its blocks verify only where the roots of the shorter tree are
 * known here: the last block of that tree brings them along, whoever has it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import type { BlockRequest, LengthRequest } from '../../format/fetch.ts'
import { decodeProof } from '../../lookaside/proof-batch.ts'
import type { StickInfo } from '../../lookaside/protocol.ts'
import type { LocalPeer, LocalSource } from '../../net/local-source.ts'
import type { Network } from '../../net/network.ts'
import type { Log, LogStorePort } from '../../store/ports.ts'
import type { LookasideCalls } from './process.ts'

/** So long it waits for roots. */
const ROOTS_MS = 3000

export interface StickSourceOptions {
  info: StickInfo
  network: Pick<Network, 'locals' | 'fetcher'>
  store: LogStorePort
  process: LookasideCalls
  /** It sent what does not verify, and is not asked any more. */
  onbad(): void
}

export class StickSource implements LocalPeer {
  info: StickInfo
  readonly #opts: StickSourceOptions
  readonly #local: LocalSource
  readonly #closing = new AbortController()
  /** Logs (hex) of which the roots are being fetched, or were. */
  readonly #rooted = new Map<string, Promise<void>>()

  constructor(opts: StickSourceOptions) {
    this.info = opts.info
    this.#opts = opts
    this.#local = opts.network.locals.add(this, { onviolation: () => opts.onbad() })
  }

  /** Blocks that came from it, and their bytes. */
  get hits(): { blocks: number; bytes: number } {
    const { blocksIn, blockBytesIn } = this.#local.counters
    return { blocks: blocksIn, bytes: blockBytesIn }
  }

  get closed(): boolean {
    return this.#local.closed
  }

  close(): void {
    this.#closing.abort()
    this.#local.close()
  }

  onwant(log: Buffer, on: boolean): void {
    if (on) this.#announce(Buffer.from(log)).catch(safetyCatch)
  }

  onblockrequest(request: BlockRequest): void {
    this.#answerBlock({ ...request, log: Buffer.from(request.log) }).catch(() =>
      this.#local.unavailable(request.id)
    )
  }

  onlengthrequest(request: LengthRequest): void {
    this.#answerLength(request).catch(() => this.#local.unavailable(request.id))
  }

  async #announce(key: Buffer): Promise<void> {
    const params = { folder: this.info.folder, log: key.toString('hex') }
    const said = await this.#opts.process.call('stick.log', params)
    if (said === null) return
    const runs = said.runs.map(([start, count]) => ({ start, count }))
    const have = { log: key, reset: true, length: said.length, treeHash: null, runs }
    const log = await this.#opts.store.open(key)
    if (log.length > said.length) {
      const roots = this.#getRoots(log, said.length)
      roots.then(() => this.#local.have(have)).catch(safetyCatch)
      // Nobody else may be there: what is known here of the tree may do.
      await Promise.race([roots, sleep(ROOTS_MS, undefined, { ref: false })])
    }
    this.#local.have(have)
  }

  async #answerBlock({ id, log: key, index, nodes }: BlockRequest): Promise<void> {
    const { folder } = this.info
    const params = { folder, log: key.toString('hex'), index, nodes }
    const { json, attachment } = await this.#opts.process.callRaw('stick.block', params)
    if (json === null) return this.#local.unavailable(id)
    if (json.nodes < nodes && !(await this.#isEnough(key, index, json.nodes))) {
      this.#local.unavailable(id)
      return
    }
    this.#local.proof({ ...decodeProof(attachment), id })
  }

  /** Is the node that so many levels lead to known here? */
  async #isEnough(key: Buffer, index: number, levels: number): Promise<boolean> {
    const log = await this.#opts.store.open(key)
    if ((await log.missingNodes(index)) <= levels) return true
    const name = key.toString('hex')
    // It grew since we said what there is: say it again when the roots are here.
    if (!this.#rooted.has(name)) this.#announce(key).catch(safetyCatch)
    return false
  }

  async #answerLength({ id, log, from }: LengthRequest): Promise<void> {
    const params = { folder: this.info.folder, log: log.toString('hex'), from }
    const { json, attachment } = await this.#opts.process.callRaw('stick.length', params)
    if (json === null) this.#local.unavailable(id)
    else this.#local.proof({ ...decodeProof(attachment), id })
  }

  #getRoots(log: Log, length: number): Promise<void> {
    const name = log.key.toString('hex')
    let getting = this.#rooted.get(name)
    if (getting === undefined) {
      getting = this.#fetchRoots(log, length)
      this.#rooted.set(name, getting)
    }
    return getting
  }

  async #fetchRoots(log: Log, length: number): Promise<void> {
    const known = await log.treeHash(length).catch(() => null)
    if (known !== null) return
    const { signal } = this.#closing
    await this.#opts.network.fetcher.fetch(log.key, [length - 1], { priority: 'demand', signal })
  }
}
