/**
 * One request that is carried out in parts. It ends when all parts have ended, the failed ones too: only then
 * may the caller touch its buffer again. No promise is made when nothing had to be waited for.
 */
export class Operation {
  /** One for whoever starts parts, until `result`. */
  #pending = 1
  #error: unknown = undefined
  #failed = false
  #settle: (() => void) | null = null

  /** Announces parts. */
  add(parts = 1): void {
    this.#pending += parts
  }

  /** Ends a part that went well. */
  done(): void {
    if (--this.#pending === 0) this.#settle?.()
  }

  /** Ends a part that failed; the first error counts. */
  fail(error: unknown): void {
    if (!this.#failed) {
      this.#failed = true
      this.#error = error
    }
    this.done()
  }

  /** All parts are announced: how it ended, or when it will. Called once. */
  result(): void | Promise<void> {
    if (--this.#pending === 0) {
      return this.#failed ? Promise.reject(this.#error) : undefined
    }
    return new Promise((resolve, reject) => {
      this.#settle = () => (this.#failed ? reject(this.#error) : resolve())
    })
  }
}
