/**
 * What the last checks found: kept in `<home>/verified.json`, so that `show` can say that something is bad until a
 * later check finds it good. A file that is lost or damaged says nothing.
 */
import { readFile } from 'node:fs/promises'
import * as v from 'valibot'
import safetyCatch from 'safety-catch'
import { writeFileDurable } from '../../base/files.ts'

const FILE_BYTES_MAX = 4 * 1024 * 1024

/** By version id (hex): when it was checked last, in milliseconds since the epoch, and whether something was bad. */
const Content = v.record(v.string(), v.object({ time: v.number(), bad: v.boolean() }))

export type Check = v.InferOutput<typeof Content>[string]

export class Verified {
  readonly #file: string
  readonly #checks = new Map<string, Check>()

  constructor(file: string) {
    this.#file = file
  }

  async load(): Promise<void> {
    try {
      const text = await readFile(this.#file)
      if (text.byteLength > FILE_BYTES_MAX) return
      const found = v.parse(Content, JSON.parse(text.toString()))
      for (const [version, check] of Object.entries(found)) this.#checks.set(version, check)
    } catch {
      // as if nothing had been checked
    }
  }

  /** @param version id in hex */
  get(version: string): Check | null {
    return this.#checks.get(version) ?? null
  }

  /** Remembers checks, and drops those of versions that are not `known`. Does not fail: a full disk forgets. */
  async note(
    checks: Iterable<[string, Check]>,
    known: (version: string) => boolean
  ): Promise<void> {
    for (const [version, check] of checks) this.#checks.set(version, check)
    for (const version of this.#checks.keys()) if (!known(version)) this.#checks.delete(version)
    const text = JSON.stringify(Object.fromEntries(this.#checks))
    await writeFileDurable(this.#file, text).catch(safetyCatch)
  }
}
