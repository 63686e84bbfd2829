/** The logs that one version's blocks live in. A number, once given, keeps its meaning along a chain of versions. */
import { HyperparcelError } from '../base/errors.ts'
import { LOGS_PER_VERSION_MAX } from '../base/limits.ts'

export class LogTable {
  readonly #keys: Buffer[] = []
  readonly #numbers = new Map<string, number>()

  constructor(keys: Iterable<Buffer> = []) {
    for (const key of keys) this.numberOf(key)
  }

  /** A table that grows apart from this one. */
  clone(): LogTable {
    return new LogTable(this.#keys)
  }

  /** Grows to the table of a later version of the chain. Throws `FORMAT_INVALID` when it is not one. */
  extend(keys: Iterable<Buffer>): void {
    let number = 0
    for (const key of keys) {
      if (this.numberOf(key) !== number++) {
        throw new HyperparcelError('FORMAT_INVALID', 'A version names its logs in another order')
      }
    }
  }

  get size(): number {
    return this.#keys.length
  }

  /** The number of a log, a new one when it had none. */
  numberOf(key: Buffer): number {
    const name = key.toString('hex')
    let number = this.#numbers.get(name)
    if (number === undefined) {
      number = this.#keys.length
      if (number >= LOGS_PER_VERSION_MAX) {
        throw new HyperparcelError('TOO_MANY_LOGS', 'A version references too many logs')
      }
      this.#keys.push(Buffer.from(key))
      this.#numbers.set(name, number)
    }
    return number
  }

  /** The key of the log with that number. */
  keyOf(number: number): Buffer {
    const key = this.#keys[number]
    if (key === undefined) {
      throw new HyperparcelError('FORMAT_INVALID', `A map names log ${number}, which is not there`)
    }
    return key
  }

  keys(): readonly Buffer[] {
    return this.#keys
  }
}
