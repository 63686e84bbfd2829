/** Damages one file of a directory at a time, and puts everything back as it was: the same bytes in the same inodes. */
import { constants } from 'node:fs'
import { lstat, open, readFile, readdir, rename, rm, truncate, utimes } from 'node:fs/promises'
import path from 'node:path'
import type { Random } from '../random.ts'

export type DamageKind = 'flip' | 'truncate' | 'delete'

export interface Damage {
  /** Relative to the directory. */
  file: string
  kind: DamageKind
  /** Which byte was flipped, or the length that is left. */
  at: number
}

export class DamagedFiles {
  readonly #directory: string
  #content = new Map<string, Buffer>()
  /** Seconds. A store knows copies by the time of their making. */
  #modified = new Map<string, number>()

  constructor(directory: string) {
    this.#directory = directory
  }

  get names(): string[] {
    return [...this.#content.keys()]
  }

  /** What is there now is what `restore` brings back. */
  async remember(): Promise<void> {
    this.#content = new Map()
    for (const name of await this.#list()) {
      this.#content.set(name, await readFile(this.#path(name)))
      this.#modified.set(name, (await lstat(this.#path(name))).mtimeMs / 1000)
    }
  }

  /** Each file equally likely, so that small ones get their share. */
  choose(random: Random, kind: DamageKind, among = this.names): Damage {
    const full = among.filter((name) => this.#content.get(name)!.byteLength > 0)
    const file = random.pick(kind === 'delete' ? among : full)
    return { file, kind, at: random.int(0, Math.max(0, this.#content.get(file)!.byteLength - 1)) }
  }

  async apply({ file, kind, at }: Damage, random: Random): Promise<void> {
    const name = this.#path(file)
    if (kind === 'delete') return rename(name, this.#deleted(file))
    if (kind === 'truncate') return truncate(name, at)
    const byte = Buffer.from([this.#content.get(file)![at] ^ (1 << random.int(0, 7))])
    await this.#write(name, byte, at)
  }

  /** Only that byte, of a file that was flipped there and that nobody else wrote to. */
  async unflip({ file, at }: Damage): Promise<void> {
    await this.#write(this.#path(file), this.#content.get(file)!.subarray(at, at + 1), at)
  }

  async restore(): Promise<void> {
    for (const name of await this.#list()) if (!this.#content.has(name)) await rm(this.#path(name))
    for (const [name, content] of this.#content) {
      await rename(this.#deleted(name), this.#path(name)).catch(() => {}) // most were not deleted
      const now = await readFile(this.#path(name)).catch(() => null)
      if (now?.equals(content) === true) continue
      await this.#write(this.#path(name), content, 0)
      await truncate(this.#path(name), content.byteLength)
      await utimes(this.#path(name), new Date(), this.#modified.get(name)!)
    }
  }

  async #write(name: string, data: Buffer, at: number): Promise<void> {
    const handle = await open(name, constants.O_WRONLY | constants.O_CREAT, 0o600)
    try {
      await handle.write(data, 0, data.byteLength, at)
    } finally {
      await handle.close()
    }
  }

  async #list(): Promise<string[]> {
    const names: string[] = []
    for (const name of await readdir(this.#directory, { recursive: true })) {
      if ((await lstat(this.#path(name))).isFile()) names.push(name)
    }
    return names.sort()
  }

  /** Where a deleted file waits for its return. */
  #deleted(name: string): string {
    return `${this.#directory}-${path.basename(name)}`
  }

  #path(name: string): string {
    return path.join(this.#directory, name)
  }
}
