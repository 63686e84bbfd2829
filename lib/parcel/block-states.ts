/** What is known of each block of several logs: one byte a block, 0 where nothing is. */
export class BlockStates {
  readonly #logs = new Map<string, Uint8Array>()

  get(log: Buffer, block: number): number {
    return this.#logs.get(log.toString('hex'))?.[block] ?? 0
  }

  set(log: Buffer, block: number, state: number): void {
    const name = log.toString('hex')
    let states = this.#logs.get(name) ?? new Uint8Array(1024)
    if (block >= states.length) {
      const grown = new Uint8Array(Math.max(block + 1, states.length * 2))
      grown.set(states)
      states = grown
    }
    states[block] = state
    this.#logs.set(name, states)
  }
}
