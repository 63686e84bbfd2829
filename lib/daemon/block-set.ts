/** A set of blocks of several logs. */
export class BlockSet {
  readonly #logs = new Map<string, Set<number>>()

  get size(): number {
    let size = 0
    for (const blocks of this.#logs.values()) size += blocks.size
    return size
  }

  has(log: Buffer, block: number): boolean {
    return this.#logs.get(log.toString('hex'))?.has(block) ?? false
  }

  add(log: Buffer, block: number): void {
    this.#of(log.toString('hex')).add(block)
  }

  addAll(other: BlockSet): void {
    for (const [log, blocks] of other.#logs) {
      const own = this.#of(log)
      for (const block of blocks) own.add(block)
    }
  }

  /** As runs of consecutive blocks, log by log. */
  *runs(): Generator<{ log: Buffer; start: number; end: number }> {
    for (const [name, blocks] of this.#logs) {
      const log = Buffer.from(name, 'hex')
      const sorted = [...blocks].sort((a, b) => a - b)
      for (let i = 0, next = 0; i < sorted.length; i = next) {
        next = i + 1
        while (next < sorted.length && sorted[next] === sorted[next - 1] + 1) next++
        yield { log, start: sorted[i], end: sorted[next - 1] + 1 }
      }
    }
  }

  #of(name: string): Set<number> {
    let blocks = this.#logs.get(name)
    if (blocks === undefined) this.#logs.set(name, (blocks = new Set()))
    return blocks
  }
}
