/** Images and directories that the user named: their indexes, in the home, and what came of them. */
import { createHash } from 'node:crypto'
import { access, mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import type { ProgressReporter } from '../../base/progress.ts'
import type { SeedSummary } from '../../runner/seeds/seed-build.ts'
import type { SeedJson } from '../../runner/protocol.ts'
import { startSeedProcess } from '../../runner/seeds/process.ts'

export interface SeedBookOptions {
  /** `<home>/seeds`. */
  directory: string
  dedupKey(): Buffer
}

export class SeedBook {
  readonly #opts: SeedBookOptions
  readonly #hits = new Map<string, { blocks: number; bytes: number }>()

  constructor(opts: SeedBookOptions) {
    this.#opts = opts
  }

  /** Indexes it, unless that was done and it is as it was. Rejects with `PATH_UNUSABLE` or the signal's reason. */
  async build(root: string, progress: ProgressReporter, signal: AbortSignal): Promise<SeedSummary> {
    await mkdir(this.#opts.directory, { recursive: true, mode: 0o700 })
    const phase = `indexing ${path.basename(root)}`
    const { channel, child } = startSeedProcess()
    try {
      const params = {
        root,
        index: this.#indexOf(root),
        dedupKey: this.#opts.dedupKey().toString('hex')
      }
      return await channel.call<SeedSummary>('build', params, {
        signal,
        onevent: (event) => progress({ phase, unit: 'bytes', ...(event as Amount) })
      })
    } finally {
      channel.close()
      if (signal.aborted) child.kill('SIGKILL')
    }
  }

  async forget(root: string): Promise<void> {
    await rm(this.#indexOf(root), { force: true })
  }

  /** Of these paths, the ones that are indexed. */
  async usable(roots: string[]): Promise<SeedJson[]> {
    const all = roots.map((root) => ({ path: root, index: this.#indexOf(root) }))
    const here = await Promise.all(
      all.map(({ index }) =>
        access(index).then(
          () => true,
          () => false
        )
      )
    )
    return all.filter((_, i) => here[i])
  }

  used(root: string, segments: number, bytes: number): void {
    const sum = this.hits(root)
    this.#hits.set(root, { blocks: sum.blocks + segments, bytes: sum.bytes + bytes })
  }

  hits(root: string): { blocks: number; bytes: number } {
    return this.#hits.get(root) ?? { blocks: 0, bytes: 0 }
  }

  #indexOf(root: string): string {
    const name = createHash('sha256').update(root).digest('hex').slice(0, 32)
    return path.join(this.#opts.directory, name)
  }
}

interface Amount {
  done: number
  total: number
}
