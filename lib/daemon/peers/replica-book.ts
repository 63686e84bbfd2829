/**
 * Who said to hold all of which version, and when: `<home>/replicas`. A hint for the user ("safe to leave"), and for whom to
 * wait; nothing is dropped because of it.
 *
 * - A holder stays one until it says otherwise, over restarts too.
 * - Written a while after something changed and when the daemon ends: after a crash the last words may be missing.
 */
import path from 'node:path'
import safetyCatch from 'safety-catch'
import { readFileIfPresent, writeFileDurable } from '../../base/files.ts'
import { HOLDINGS_MAX, REPLICA_BOOK, type Holding } from '../../format/local-books.ts'

const SAVE_MS = 1000

export class ReplicaBook {
  readonly #file: string
  /** By version, by device (hex): when it said so. */
  readonly #held = new Map<string, Map<string, number>>()
  #timer: NodeJS.Timeout | null = null
  #dirty = false
  #saving: Promise<void> = Promise.resolve()

  constructor(home: string) {
    this.#file = path.join(home, 'replicas')
  }

  /** A file that cannot be used says nothing, and is replaced. */
  async load(): Promise<void> {
    const data = await readFileIfPresent(this.#file)
    if (data === null) return
    try {
      for (const { version, device, time } of REPLICA_BOOK.decode(Buffer.from(data)).holdings) {
        this.#devicesOf(version.toString('hex')).set(device.toString('hex'), time)
      }
    } catch (err) {
      safetyCatch(err)
    }
  }

  /** Devices (public keys in hex) and when they last said that they have that version (hex). */
  of(version: string): ReadonlyMap<string, number> {
    return this.#held.get(version) ?? new Map()
  }

  note(version: string, device: string, holds: boolean): void {
    if (holds) this.#devicesOf(version).set(device, Date.now())
    else if (this.#held.get(version)?.delete(device) !== true) return
    this.#dirty = true
    this.#timer ??= setTimeout(() => {
      this.#timer = null
      this.#save().catch(safetyCatch) // tried again with the next change
    }, SAVE_MS).unref()
  }

  /** Forgets versions and devices for which that is false. */
  prune(keep: (version: string, device: string) => boolean): void {
    for (const [version, devices] of this.#held) {
      for (const device of devices.keys()) if (!keep(version, device)) devices.delete(device)
      if (devices.size === 0) this.#held.delete(version)
    }
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    await this.#save().catch(safetyCatch) // the disk may be full: it only says less
  }

  #devicesOf(version: string): Map<string, number> {
    let devices = this.#held.get(version)
    if (devices === undefined) this.#held.set(version, (devices = new Map()))
    return devices
  }

  #save(): Promise<void> {
    this.#saving = this.#saving
      .catch(() => {})
      .then(async () => {
        if (!this.#dirty) return
        this.#dirty = false
        const data = REPLICA_BOOK.encode({ holdings: this.#newest() })
        await writeFileDurable(this.#file, data, 0o600)
      })
    return this.#saving
  }

  #newest(): Holding[] {
    const all: Holding[] = []
    for (const [version, devices] of this.#held) {
      for (const [device, time] of devices) {
        all.push({ version: Buffer.from(version, 'hex'), device: Buffer.from(device, 'hex'), time })
      }
    }
    if (all.length <= HOLDINGS_MAX) return all
    return all.sort((a, b) => b.time - a.time).slice(0, HOLDINGS_MAX)
  }
}
