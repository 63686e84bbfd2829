/**
 * This device's registry log: one at a time, the one that the own card names.
 *
 * A log is taken into use in this order: everything own that can be read is read; the log gets what it lacks of
 * that; a flush; then the card. Until then the card names the former log, which still holds all of it, so a
 * crash anywhere only repeats the work. Appends and changes of the log happen one at a time.
 */
import { HyperparcelError } from '../base/errors.ts'
import type { DeviceCard } from '../format/device-card.ts'
import type { Log, LogStorePort } from '../store/ports.ts'
import { toBlock } from './blocks.ts'
import type { CardBook } from './card-book.ts'
import type { Keyring } from './keyring.ts'
import type { StoredRecord } from './records.ts'

const PURPOSE = 'registry'
/** A log may be retired under our hands; twice in a row is strange, more is a bug. */
const ATTEMPTS_MAX = 3

export interface OwnLogOptions {
  /** Public key of this device. */
  author: Buffer
  store: LogStorePort
  keyring: Keyring
  book: CardBook
  /** For the card. */
  name: () => string
  /** Reads everything that is here of a log, calling `saw` with its records. */
  readLog: (log: Buffer) => Promise<void>
  oncard: (card: DeviceCard) => void
  onproblem: (err: unknown) => void
}

export class OwnLog {
  readonly #opts: OwnLogOptions
  #log: Log | null = null
  /** All own records, by hash, oldest first. */
  readonly #own = new Map<string, StoredRecord>()
  /** Hashes of those in each log that was read, by log key, hex. */
  readonly #writtenIn = new Map<string, Set<string>>()
  #tail: Promise<unknown> = Promise.resolve()
  #opened = false
  #closed = false
  readonly #onretired = (): void => this.#tidy()

  constructor(opts: OwnLogOptions) {
    this.#opts = opts
  }

  /**
   * The former logs must have been read before.
   * @param first records that were signed before there was a registry
   */
  async open(first: StoredRecord[]): Promise<void> {
    this.saw(first, null)
    await this.#inTurn(() => this.#attempt([]))
    this.#opened = true
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#log?.off('retired', this.#onretired)
    await this.#tail.catch(() => {})
  }

  /** Durable when it resolves. */
  async append(records: StoredRecord[]): Promise<void> {
    await this.#inTurn(() => this.#attempt(records))
    await this.#opts.store.flush()
  }

  /** Records were read from that log (null: from elsewhere). Own ones that the current log lacks are appended. */
  saw(records: StoredRecord[], log: Buffer | null): void {
    const written = log === null ? null : this.#written(log)
    for (const record of records) {
      if (!record.record.author.equals(this.#opts.author)) continue
      if (!this.#own.has(record.hash)) this.#own.set(record.hash, record)
      written?.add(record.hash)
    }
    if (this.#opened && this.#lacking().length > 0) this.#tidy()
  }

  /** In the background: the current log, with everything own in it. */
  #tidy(): void {
    if (this.#closed) return
    const tidied = this.#inTurn(() => this.#attempt([])).then(() => this.#opts.store.flush())
    tidied.catch((err: unknown) => {
      if (!this.#closed) this.#opts.onproblem(err)
    })
  }

  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    const turn = this.#tail.then(() => {
      if (!this.#closed) return step()
      throw new HyperparcelError('REGISTRY_CLOSED', 'The registry is closed')
    })
    this.#tail = turn.catch(() => {})
    return turn
  }

  async #attempt(records: StoredRecord[]): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#write(records)
      } catch (err) {
        const retired = (err as { code?: string }).code === 'LOG_RETIRED'
        if (!retired || attempt === ATTEMPTS_MAX) throw err
      }
    }
  }

  async #write(records: StoredRecord[]): Promise<void> {
    const log = await this.#opts.store.current(PURPOSE)
    if (log !== this.#log) await this.#change(log)
    const blocks = [...this.#lacking(), ...records]
    if (blocks.length > 0) {
      await log.append(blocks.map((record) => toBlock(record, log.key, this.#opts.keyring)))
      for (const record of blocks) {
        this.#own.set(record.hash, record)
        this.#written(log.key).add(record.hash)
      }
    }
    const { book } = this.#opts
    if (book.own !== null && book.own.log.equals(log.key)) return
    await this.#opts.store.flush()
    this.#opts.oncard(await book.renew(log.key, this.#opts.name()))
  }

  /** Own records that the current log does not have. */
  #lacking(): StoredRecord[] {
    if (this.#log === null) return []
    const written = this.#written(this.#log.key)
    // All that is written is own, so equal sizes mean that nothing is lacking.
    if (written.size === this.#own.size) return []
    return [...this.#own.values()].filter((record) => !written.has(record.hash))
  }

  #written(log: Buffer): Set<string> {
    const id = log.toString('hex')
    let written = this.#writtenIn.get(id)
    if (written === undefined) this.#writtenIn.set(id, (written = new Set()))
    return written
  }

  async #change(log: Log): Promise<void> {
    const { book, readLog } = this.#opts
    if (book.own !== null && !book.own.log.equals(log.key)) await book.retireOwn()
    this.#log?.off('retired', this.#onretired)
    this.#log = log
    log.on('retired', this.#onretired)
    await readLog(log.key)
  }
}
