/**
 * Who belongs to the fleet. The first device proves itself by the fleet's id; every other one is admitted by a
 * device that belongs. Caches belong, but nothing that they would sign counts.
 */
import type { RegistryRecord, Role } from '../format/registry.ts'
import type { StoredRecord } from './records.ts'
import { fleetIdOf, isKind, laterOf } from './records.ts'

export interface DeviceInfo {
  publicKey: Buffer
  /** Unique in the view: a name that was given twice shows as `name@<start of the public key>` the second time. */
  name: string
  role: Role
  /** Public key of who admitted it; null for the first device. */
  admittedBy: Buffer | null
  /** When it was admitted, milliseconds since the epoch. */
  time: number
  removed: boolean
}

interface Member {
  publicKey: Buffer
  role: Role
  admittedBy: Buffer | null
  since: { time: number; hash: string }
  named: { name: string; time: number; hash: string }
}

export class Members {
  readonly #fleet: Buffer
  readonly #members = new Map<string, Member>()
  readonly #removed = new Set<string>()
  /** Devices that may sign before the registry shows why. */
  readonly #trusted: Set<string>
  #recoveryKey: Buffer | null = null
  #shown: Map<string, DeviceInfo> | null = null

  constructor(fleet: Buffer, trusted: Buffer[]) {
    this.#fleet = fleet
    this.#trusted = new Set(trusted.map((key) => key.toString('hex')))
  }

  /** Null until the first record of the fleet is known. */
  get recoveryKey(): Buffer | null {
    return this.#recoveryKey
  }

  /** Do its records count? */
  maySign(record: RegistryRecord): boolean {
    const author = record.author.toString('hex')
    if (isKind(record, 'genesis')) {
      return fleetIdOf(record.author, record.body).equals(this.#fleet)
    }
    return this.#trusted.has(author) || this.#members.get(author)?.role === 'device'
  }

  /** Takes over a record that may count. Public keys (hex) of devices that belong from now on. */
  add({ record, hash }: StoredRecord): string[] {
    const { author, time } = record
    if (isKind(record, 'genesis')) {
      this.#recoveryKey = record.body.recoveryKey
      return this.#admit(author, 'device', record.body.name, null, time, hash)
    }
    if (isKind(record, 'device')) {
      const { publicKey, role, name } = record.body
      return this.#admit(publicKey, role, name, author, time, hash)
    }
    if (isKind(record, 'device-removed')) {
      this.#removed.add(record.body.publicKey.toString('hex'))
      this.#shown = null
    }
    return []
  }

  /** May it connect? */
  admits(publicKey: Buffer): boolean {
    const id = publicKey.toString('hex')
    return !this.#removed.has(id) && (this.#members.has(id) || this.#trusted.has(id))
  }

  get(publicKey: Buffer): DeviceInfo | null {
    return this.#view().get(publicKey.toString('hex')) ?? null
  }

  /** By name; removed ones too. */
  list(): DeviceInfo[] {
    return [...this.#view().values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  #admit(
    publicKey: Buffer,
    role: Role,
    name: string,
    admittedBy: Buffer | null,
    time: number,
    hash: string
  ): string[] {
    this.#shown = null
    const id = publicKey.toString('hex')
    const known = this.#members.get(id)
    if (known === undefined) {
      const since = { time, hash }
      const named = { name, time, hash }
      this.#members.set(id, { publicKey, role, admittedBy, since, named })
      return [id]
    }
    // A further record may name it anew, or make a device of a cache.
    if (laterOf({ time, hash }, known.named) > 0) known.named = { name, time, hash }
    if (laterOf({ time, hash }, known.since) < 0) {
      known.since = { time, hash }
      known.admittedBy = admittedBy
    }
    if (known.role === 'device' || role === 'cache') return []
    known.role = 'device'
    return [id]
  }

  #view(): Map<string, DeviceInfo> {
    if (this.#shown !== null) return this.#shown
    const shown = new Map<string, DeviceInfo>()
    const names = new Set<string>()
    const ordered = [...this.#members].sort(([, a], [, b]) => laterOf(a.named, b.named))
    for (const [id, { publicKey, role, admittedBy, since, named }] of ordered) {
      const removed = this.#removed.has(id)
      let { name } = named
      for (let n = 6; !removed && names.has(name); n++) name = `${named.name}@${id.slice(0, n)}`
      if (!removed) names.add(name)
      shown.set(id, { publicKey, name, role, admittedBy, time: since.time, removed })
    }
    this.#shown = shown
    return shown
  }
}
