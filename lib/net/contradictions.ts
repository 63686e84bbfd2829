/**
 * Logs of which two histories were signed (design §4): a store that was copied or rolled back and then written to. A
 * peer whose history contradicts ours is asked for its signed head; the two heads that prove it are kept.
 *
 * - Kept is only what both signatures prove: a peer that lies about a log accuses nobody.
 * - The first of a log counts, and at most `KEPT_MAX` of all: whoever has the key of a log can make any number.
 * - An own log is retired: some copy of this store goes on with it.
 *
 * Events: `found` (Shown).
 */
import { mkdir, readdir } from 'node:fs/promises'
import path from 'node:path'
import ReadyResource from 'ready-resource'
import safetyCatch from 'safety-catch'
import * as v from 'valibot'
import { systemClock } from '../base/clock.ts'
import { readFileIfPresent, writeFileDurable } from '../base/files.ts'
import {
  decodeContradiction,
  decodeHead,
  encodeContradiction,
  encodeHead,
  type Contradiction
} from '../format/signed-head.ts'
import type { LogStore } from '../store/log-store.ts'
import { PeerReply, type PeerHandler } from './calls.ts'
import type { Network } from './network.ts'

const KEPT_MAX = 64
const SUFFIX = '.hpcp'
const HEAD_CALL = 'log.head'
const Params = v.object({
  log: v.pipe(v.string(), v.hexadecimal(), v.length(64)),
  at: v.pipe(v.number(), v.safeInteger(), v.minValue(0))
})

export interface Shown {
  log: Buffer
  /** Who showed the second history. */
  device: Buffer
  seen: number
  /** Blocks that each of the two signed. */
  lengths: [number, number]
}

export interface ContradictionsOptions {
  directory: string
  store: LogStore
  mayServe(log: Buffer): boolean
}

export class Contradictions extends ReadyResource {
  readonly #opts: ContradictionsOptions
  /** By log, hex. */
  readonly #kept = new Map<string, Shown>()
  readonly #asking = new Set<Promise<void>>()

  constructor(opts: ContradictionsOptions) {
    super()
    this.#opts = opts
  }

  protected override async _open(): Promise<void> {
    const { directory } = this.#opts
    await mkdir(directory, { recursive: true, mode: 0o700 })
    for (const name of await readdir(directory)) {
      if (!name.endsWith(SUFFIX)) continue
      const data = await readFileIfPresent(path.join(directory, name))
      try {
        if (data !== null) this.#show(decodeContradiction(data))
      } catch (err) {
        safetyCatch(err) // Damaged, or of a later release: the file stays.
      }
    }
  }

  protected override async _close(): Promise<void> {
    await Promise.all(this.#asking)
  }

  list(): Shown[] {
    return [...this.#kept.values()]
  }

  /** Answers who found that our history of a log contradicts theirs. */
  get handlers(): Record<string, PeerHandler> {
    return { [HEAD_CALL]: (params) => this.#answer(params) }
  }

  /** Looks into what the network finds. */
  watch(network: Network): void {
    network.on('conflict', (log: Buffer, peer: Buffer) => {
      if (this.#kept.has(log.toString('hex')) || this.closing) return
      const asked = this.#ask(network, log, peer).catch(safetyCatch)
      this.#asking.add(asked)
      void asked.then(() => this.#asking.delete(asked))
    })
  }

  async #answer(params: unknown): Promise<PeerReply> {
    const { log: name, at } = v.parse(Params, params)
    const key = Buffer.from(name, 'hex')
    const log = this.#opts.mayServe(key) ? await this.#opts.store.peek(key) : null
    const head = await log?.signedHead(at)
    return new PeerReply(null, head == null ? Buffer.alloc(0) : encodeHead(head))
  }

  async #ask(network: Network, key: Buffer, peer: Buffer): Promise<void> {
    const log = await this.#opts.store.open(key)
    await this.#opts.store.flush() // What came just now counts too.
    const params = { log: key.toString('hex'), at: log.durableLength }
    const { attachment } = await network.callRaw(peer, HEAD_CALL, params)
    const theirs = decodeHead(attachment)
    const ours = await log.signedHead(theirs.at)
    if (ours === null || ours.at !== theirs.at || theirs.at === 0) return
    const [here, there] = [await log.verifyHead(ours), await log.verifyHead(theirs)]
    if (here === null || there === null || here.equals(there)) return
    const found: Contradiction = {
      device: peer,
      seen: systemClock.now(),
      first: encodeHead(ours),
      second: encodeHead(theirs)
    }
    await this.#keep(key, found)
    await this.#opts.store.retire(key)
  }

  async #keep(log: Buffer, found: Contradiction): Promise<void> {
    const name = log.toString('hex')
    if (this.#kept.has(name) || this.#kept.size >= KEPT_MAX) return
    const shown = this.#show(found)
    const file = path.join(this.#opts.directory, name + SUFFIX)
    await writeFileDurable(file, encodeContradiction(found))
    this.emit('found', shown)
  }

  #show({ device, seen, first, second }: Contradiction): Shown {
    const [a, b] = [decodeHead(first), decodeHead(second)]
    const shown: Shown = { log: a.log, device, seen, lengths: [a.length, b.length] }
    this.#kept.set(a.log.toString('hex'), shown)
    return shown
  }
}
