/**
 * Reads a registry log as its blocks arrive, in any order. Blocks whose key is not known yet are read again
 * after `retry()`. A block that does not verify is reported and left out; the others still count.
 */
import type { Log } from '../store/ports.ts'
import type { Keyring } from './keyring.ts'
import type { StoredRecord } from './records.ts'
import { fromBlock } from './blocks.ts'

export interface LogReaderOptions {
  log: Log
  keyring: Keyring
  onrecords: (records: StoredRecord[]) => void
  onproblem: (err: unknown, log: Buffer, block: number) => void
}

/** Records handed over at once at most. */
const BATCH = 256

export class LogReader {
  readonly log: Log
  readonly #opts: LogReaderOptions
  /** Blocks that arrived; at most one number for each block of the log. */
  #arrived: number[] = []
  #locked: number[] = []
  #running: Promise<void> | null = null
  #closed = false
  readonly #onstored = (index: number): void => {
    this.#arrived.push(index)
    this.#run()
  }

  constructor(opts: LogReaderOptions) {
    this.#opts = opts
    this.log = opts.log
  }

  /** Resolves when everything that is here now was read. */
  async start(): Promise<void> {
    this.log.on('stored', this.#onstored)
    for (let index = 0; index < this.log.length; index++) this.#arrived.push(index)
    this.#run()
    await this.idle()
  }

  async idle(): Promise<void> {
    while (this.#running !== null) await this.#running
  }

  /** The keyring learned a key. */
  retry(): void {
    this.#arrived.push(...this.#locked.splice(0))
    this.#run()
  }

  async close(): Promise<void> {
    this.#closed = true
    this.log.off('stored', this.#onstored)
    await this.idle()
  }

  #run(): void {
    if (this.#running !== null || this.#closed) return
    this.#running = this.#readArrived().finally(() => {
      this.#running = null
      // Something may have arrived between the last look and now.
      if (this.#arrived.length > 0) this.#run()
    })
  }

  async #readArrived(): Promise<void> {
    while (this.#arrived.length > 0 && !this.#closed) {
      const records: StoredRecord[] = []
      for (const index of this.#arrived.splice(0, BATCH)) {
        const record = await this.#read(index)
        if (record !== null) records.push(record)
      }
      if (records.length > 0 && !this.#closed) this.#opts.onrecords(records)
    }
  }

  async #read(index: number): Promise<StoredRecord | null> {
    try {
      const block = await this.log.read(index)
      if (block === null) return null
      const record = fromBlock(block, this.log.key, this.#opts.keyring)
      if (record !== 'locked') return record
      this.#locked.push(index)
    } catch (err) {
      if (!this.#closed) this.#opts.onproblem(err, this.log.key, index)
    }
    return null
  }
}
