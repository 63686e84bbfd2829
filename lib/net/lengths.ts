/**
 * Signed lengths of watched logs. One upgrade is asked for at a time per log, from whoever claims the longest.
 * An own log is compared with whatever any peer claims: one that is longer retires it (the store sees to that).
 */
import type { Proof } from '../format/fetch.ts'
import type { Pending, Source } from './source.ts'
import type { LogWatch } from './watch.ts'
import { toLogProof } from './to-log-proof.ts'

export interface LengthsOptions {
  sources: ReadonlySet<Source>
  onasked(): void
  onviolation(source: Source, what: string): void
  onconflict(log: Buffer, source: Source): void
}

export class Lengths {
  readonly #opts: LengthsOptions

  constructor(opts: LengthsOptions) {
    this.#opts = opts
  }

  /** Asks for a longer length, where one is needed and somebody claims to know it. */
  ask(watch: LogWatch): void {
    if (watch.lengthAskedFrom !== null) return
    const { log } = watch
    if (!log.writable && watch.follow === null && lengthNeeded(watch) <= log.length) return
    let best: Source | null = null
    let longest = log.length
    for (const source of this.#opts.sources) {
      const remote = source.logs.get(watch.id)
      if (remote === undefined || remote.conflicted || source.silent) continue
      if (remote.length > longest) [best, longest] = [source, remote.length]
    }
    if (best === null) return
    const from = log.length
    watch.lengthAskedFrom = best
    best.askLength(watch, from)
    this.#opts.onasked()
  }

  /** That source will not answer, or not soon. */
  lost(watch: LogWatch, source: Source): void {
    if (watch.lengthAskedFrom === source) watch.lengthAskedFrom = null
    this.ask(watch)
  }

  async onproof(
    source: Source,
    { watch, from }: Pending & { kind: 'length' },
    message: Proof
  ): Promise<void> {
    const { log } = watch
    try {
      if (message.upgrade!.start !== from) {
        this.#opts.onviolation(source, 'answers with another length')
      } else if (log.length === from && !(await log.apply(toLogProof(message)))) {
        this.#onrefused(watch, source, from)
      }
    } finally {
      this.lost(watch, source)
    }
  }

  /** Does what the source says of the log fit what is stored here? */
  async compare(watch: LogWatch, source: Source): Promise<void> {
    const remote = source.logs.get(watch.id)!
    const { length, treeHash } = remote
    if (treeHash === null || length === 0 || length > watch.log.length) return
    const ours = await watch.log.treeHash(length).catch(() => null)
    if (ours !== null && !ours.equals(treeHash)) this.#conflict(watch, source)
  }

  #onrefused(watch: LogWatch, source: Source, from: number): void {
    // An own log may have grown meanwhile.
    if (watch.log.length !== from) return
    if (from === 0) this.#opts.onviolation(source, 'sent a length that does not verify')
    else this.#conflict(watch, source)
  }

  #conflict(watch: LogWatch, source: Source): void {
    const remote = source.logs.get(watch.id)
    if (remote === undefined || remote.conflicted) return
    remote.conflicted = true
    this.#opts.onconflict(watch.key, source)
  }
}

function lengthNeeded(watch: LogWatch): number {
  let length = 0
  for (const waiter of watch.waiters) length = Math.max(length, waiter.length)
  for (const job of watch.jobs) {
    if (job.needsLength) length = Math.max(length, job.indexes[job.cursor] + 1)
  }
  return length
}
