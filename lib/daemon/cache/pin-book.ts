/**
 * The pin lists that the devices of one fleet signed, and who these devices are as far as the lists say.
 * `<home>/keys/caches/<fleet>/pins`, a file for each device.
 *
 * Invariants
 * - A list counts when a device signed it that belongs: the one that enrolled this cache, or one that such a list names.
 *   Who any of them removed belongs no more.
 * - Of each device the list with the largest counter counts; it is durable before it is acted upon.
 */
import { mkdir, readdir } from 'node:fs/promises'
import path from 'node:path'
import safetyCatch from 'safety-catch'
import { BlockSet } from '../../base/block-set.ts'
import { HyperparcelError } from '../../base/errors.ts'
import { readFileIfPresent, writeFileDurable } from '../../base/files.ts'
import { openPinList } from '../../fleet/pin-list.ts'
import type { PinList } from '../../format/pin-list.ts'
import type { Wish } from './plan.ts'

const SUFFIX = '.hppl'

export interface PinBookOptions {
  fleet: Buffer
  /** Public key of the device that enrolled this cache. */
  sponsor: Buffer
  directory: string
}

/** As a device listed it. */
export interface ListedVersion extends Wish {
  annex: { log: Buffer; block: number } | null
  /** The next newer one of its parcel in that list: whoever has all of that and of this has all of the version. */
  newer: ListedVersion | null
}

export class PinBook {
  readonly #opts: PinBookOptions
  /** By device, hex. */
  readonly #lists = new Map<string, PinList>()
  readonly #versions = new Map<string, ListedVersion[]>()
  #members = new Map<string, Buffer>()
  /** Writes follow one another. */
  #tail: Promise<unknown> = Promise.resolve()

  constructor(opts: PinBookOptions) {
    this.#opts = opts
    this.#judge()
  }

  async load(): Promise<void> {
    const { directory, fleet } = this.#opts
    await mkdir(directory, { recursive: true, mode: 0o700 })
    for (const name of await readdir(directory)) {
      if (!name.endsWith(SUFFIX)) continue
      const bytes = await readFileIfPresent(path.join(directory, name))
      try {
        if (bytes !== null) this.#take(openPinList(fleet, bytes))
      } catch (err) {
        safetyCatch(err) // Damaged, or of a later release: its device sends another one.
      }
    }
  }

  /**
   * Takes a list in, durably. Resolves with the newest counter of its device; rejects with `PIN_LIST_INVALID`,
   * `FORMAT_INVALID`, `FORMAT_TOO_NEW`.
   */
  async add(bytes: Buffer): Promise<{ counter: number; isNew: boolean }> {
    const list = openPinList(this.#opts.fleet, bytes)
    if (!this.isMember(list.device)) {
      throw new HyperparcelError('PIN_LIST_INVALID', 'A pin list is not of a device of the fleet')
    }
    const name = list.device.toString('hex')
    const turn = this.#tail.then(async () => {
      const known = this.#lists.get(name)?.counter ?? -1
      if (list.counter <= known) return { counter: known, isNew: false }
      await writeFileDurable(path.join(this.#opts.directory, name + SUFFIX), bytes)
      this.#take(list)
      return { counter: list.counter, isNew: true }
    })
    this.#tail = turn.catch(() => {})
    return turn
  }

  isMember(publicKey: Buffer): boolean {
    return this.#members.has(publicKey.toString('hex'))
  }

  /** Public keys of devices. */
  members(): Buffer[] {
    return [...this.#members.values()]
  }

  /** Where the fleet meets, by the newest list; null before there is one. */
  get topic(): Buffer | null {
    let newest: PinList | null = null
    for (const list of this.#counted()) {
      if (newest === null || list.counter > newest.counter) newest = list
    }
    return newest?.topic ?? null
  }

  /** Of all devices. Two may list one version, by the same or by other blocks. */
  versions(): ListedVersion[] {
    return this.#counted().flatMap(({ device }) => this.#versions.get(device.toString('hex')) ?? [])
  }

  /** Keys (hex) of the logs that are listed. */
  logs(): Map<string, Buffer> {
    const logs = this.#counted().flatMap((list) => list.logs)
    return new Map(logs.map((log) => [log.toString('hex'), log]))
  }

  #counted(): PinList[] {
    return [...this.#lists.values()].filter(({ device }) => this.isMember(device))
  }

  #take(list: PinList): void {
    const name = list.device.toString('hex')
    this.#lists.set(name, list)
    this.#versions.set(name, versionsOf(list))
    this.#judge()
  }

  /** Who belongs, from the beginning: the order in which lists came does not matter. */
  #judge(): void {
    const { sponsor } = this.#opts
    const members = new Map([[sponsor.toString('hex'), sponsor]])
    const removed = new Set<string>()
    for (const [name] of members) {
      // Grows while it is walked: whom a member names is one, too.
      for (const member of this.#lists.get(name)?.members ?? []) {
        const other = member.publicKey.toString('hex')
        if (member.removed) removed.add(other)
        else members.set(other, member.publicKey)
      }
    }
    for (const name of removed) members.delete(name)
    this.#members = members
  }
}

function versionsOf({ entries, logs }: PinList): ListedVersion[] {
  const newest = new Map<string, ListedVersion>()
  return entries.map((entry) => {
    const parcel = entry.parcel.toString('hex')
    const blocks = new BlockSet()
    for (const { log, start, count } of entry.runs)
      blocks.of(logs[log]).addRun(start, start + count)
    const version: ListedVersion = {
      version: entry.version.toString('hex'),
      parcel,
      time: entry.time,
      bytes: entry.bytes,
      blocks,
      annex: entry.annex && { log: logs[entry.annex.log], block: entry.annex.block },
      newer: newest.get(parcel) ?? null
    }
    newest.set(parcel, version)
    return version
  })
}
