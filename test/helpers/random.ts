/** A small seeded generator, so that a failing random test can be repeated: print the seed with its name. */
export class Random {
  readonly seed: number
  #state: number

  /** Without a seed: `$SEED`, or one from the clock. */
  constructor(seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 32)) {
    this.seed = seed >>> 0
    this.#state = this.seed
  }

  /** 0 ≤ x < 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let x = this.#state
    x = Math.imul(x ^ (x >>> 15), x | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }

  /** An integer from `min` to `max`, both included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(values: readonly T[]): T {
    return values[this.int(0, values.length - 1)]
  }

  bytes(length: number): Buffer {
    const buffer = Buffer.allocUnsafe(length)
    for (let i = 0; i < length; i += 4) {
      const word = (this.next() * 2 ** 32) >>> 0
      for (let j = 0; j < 4 && i + j < length; j++) buffer[i + j] = (word >>> (j * 8)) & 0xff
    }
    return buffer
  }
}
