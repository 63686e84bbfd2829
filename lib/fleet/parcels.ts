/**
 * The parcels that the records speak of, with their names, logs, versions and lease entries. Statements about
 * one thing merge without order: the earliest creates, the latest names, a removal is for good.
 *
 * Two devices that gave one name to two parcels while apart: both stay; the one that was named later shows as
 * `name@device`, after the device that named it.
 */
import { decodeLeaseEntry } from '../format/lease.ts'
import type { LeaseEntry } from '../format/lease.ts'
import { COMPRESSION_LEVEL_MAX, COMPRESSION_LEVEL_MIN } from '../base/limits.ts'
import { ANNEX_PURPOSE, type ParcelCompressionBody, type VersionBody } from '../format/registry.ts'
import type { StoredRecord } from './records.ts'
import { isKind, laterOf } from './records.ts'

export interface ParcelInfo {
  /** 16 bytes. */
  id: Buffer
  /** Unique in the view. */
  name: string
  /** Milliseconds since the epoch. */
  created: number
  /** Public key of the device that created it. */
  creator: Buffer
  keyEpoch: number
  wrappedKey: Buffer
  /** Level of zstd for what is added; null where nobody chose one. */
  compressionLevel: number | null
}

export interface LogInfo {
  log: Buffer
  parcel: Buffer
  /** Public key of the device that writes it. */
  device: Buffer
}

/** A version as it was announced. */
export interface VersionInfo extends VersionBody {
  /** Public key of its author. */
  device: Buffer
  /** Milliseconds since the epoch. */
  time: number
}

/** A reissued map or a resume pack as it was announced. */
export interface AnnexInfo {
  version: Buffer
  serial: number
  log: Buffer
  block: number
  /** Public key of its author. */
  device: Buffer
}

interface Stamp {
  time: number
  hash: string
}

interface Made extends Stamp {
  info: Omit<ParcelInfo, 'name' | 'compressionLevel'>
}

interface Named extends Stamp {
  name: string
  by: Buffer
}

export class Parcels {
  readonly #made = new Map<string, Made>()
  readonly #named = new Map<string, Named>()
  readonly #removed = new Set<string>()
  readonly #levels = new Map<string, Stamp & { level: number }>()
  readonly #logs = new Map<string, LogInfo & Stamp>()
  readonly #logsOf = new Map<string, Map<string, LogInfo>>()
  readonly #versions = new Map<string, Map<string, VersionInfo & Stamp>>()
  /** Reissued maps: by version, then by device. */
  readonly #annexes = new Map<string, Map<string, AnnexInfo & Stamp>>()
  /** Resume packs, likewise. */
  readonly #packs = new Map<string, Map<string, AnnexInfo & Stamp>>()
  readonly #leases = new Map<string, LeaseEntry[]>()
  readonly #leaseBytes = new Set<string>()
  #shown: Map<string, ParcelInfo> | null = null

  /** Takes over a record that counts. Throws `FORMAT_INVALID` for a lease entry that is none. */
  add({ record, hash }: StoredRecord): void {
    const { author, time } = record
    const stamp = { time, hash }
    if (isKind(record, 'parcel')) {
      const { parcel, name, keyEpoch, wrappedKey } = record.body
      const id = parcel.toString('hex')
      const info = { id: parcel, created: time, creator: author, keyEpoch, wrappedKey }
      const known = this.#made.get(id)
      if (known === undefined || laterOf(stamp, known) < 0) this.#made.set(id, { ...stamp, info })
      this.#name(id, { ...stamp, name, by: author })
    } else if (isKind(record, 'parcel-name')) {
      const { parcel, name } = record.body
      this.#name(parcel.toString('hex'), { ...stamp, name, by: author })
    } else if (isKind(record, 'parcel-removed')) {
      this.#removed.add(record.body.parcel.toString('hex'))
      this.#shown = null
    } else if (isKind(record, 'parcel-compression')) {
      this.#compression(record.body, stamp)
    } else if (isKind(record, 'log')) {
      this.#log({ ...record.body, device: author, ...stamp })
    } else if (isKind(record, 'version')) {
      this.#version({ ...record.body, device: author, ...stamp })
    } else if (isKind(record, 'lease')) {
      this.#lease(record.body.entry)
    } else if (isKind(record, 'annex')) {
      const { purpose } = record.body
      const annex = { ...record.body, device: author, ...stamp }
      if (purpose === ANNEX_PURPOSE.REISSUED_MAP) this.#annex(this.#annexes, annex)
      else if (purpose === ANNEX_PURPOSE.RESUME_PACK) this.#annex(this.#packs, annex)
    }
  }

  /** Those that exist, by name. */
  list(): ParcelInfo[] {
    return [...this.#view().values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  get(id: Buffer): ParcelInfo | null {
    return this.#view().get(id.toString('hex')) ?? null
  }

  /** How the parcel's key is kept. Of removed ones too: versions of other parcels may reference their logs. */
  keyOf(id: Buffer): Pick<ParcelInfo, 'keyEpoch' | 'wrappedKey'> | null {
    return this.#made.get(id.toString('hex'))?.info ?? null
  }

  byName(name: string): ParcelInfo | null {
    for (const parcel of this.#view().values()) if (parcel.name === name) return parcel
    return null
  }

  /** How a device is called decides how second parcels of a name are. */
  nameOf: (device: Buffer) => string = (device) => device.toString('hex').slice(0, 6)

  /** Names of devices changed. */
  renew(): void {
    this.#shown = null
  }

  logsOf(id: Buffer): LogInfo[] {
    return [...(this.#logsOf.get(id.toString('hex'))?.values() ?? [])]
  }

  log(key: Buffer): LogInfo | null {
    const found = this.#logs.get(key.toString('hex'))
    return found ? { log: found.log, parcel: found.parcel, device: found.device } : null
  }

  logs(): LogInfo[] {
    return [...this.#logs.values()]
  }

  /** By number, then time. */
  versions(id: Buffer): VersionInfo[] {
    const versions = [...(this.#versions.get(id.toString('hex'))?.values() ?? [])]
    return versions.sort((a, b) => a.number - b.number || laterOf(a, b))
  }

  /** Reissued maps of a version, the newest of each device. */
  annexes(version: Buffer): AnnexInfo[] {
    return [...(this.#annexes.get(version.toString('hex'))?.values() ?? [])]
  }

  /** Resume packs of a version, the newest of each device; of these the latest first. */
  packs(version: Buffer): AnnexInfo[] {
    const packs = [...(this.#packs.get(version.toString('hex'))?.values() ?? [])]
    return packs.sort((a, b) => laterOf(b, a))
  }

  leaseEntries(id: Buffer): readonly LeaseEntry[] {
    return this.#leases.get(id.toString('hex')) ?? []
  }

  creatorOf(id: Buffer): Buffer | null {
    return this.#made.get(id.toString('hex'))?.info.creator ?? null
  }

  #name(id: string, named: Named): void {
    const known = this.#named.get(id)
    if (known !== undefined && laterOf(named, known) < 0) return
    this.#named.set(id, named)
    this.#shown = null
  }

  #compression({ parcel, level }: ParcelCompressionBody, stamp: Stamp): void {
    const id = parcel.toString('hex')
    const known = this.#levels.get(id)
    if (level < COMPRESSION_LEVEL_MIN || level > COMPRESSION_LEVEL_MAX) return
    if (known !== undefined && laterOf(stamp, known) < 0) return
    this.#levels.set(id, { ...stamp, level })
    this.#shown = null
  }

  #log(log: LogInfo & Stamp): void {
    const key = log.log.toString('hex')
    const known = this.#logs.get(key)
    // One log has one parcel: the earliest claim counts.
    if (known !== undefined && laterOf(log, known) >= 0) return
    if (known !== undefined) this.#logsOf.get(known.parcel.toString('hex'))!.delete(key)
    this.#logs.set(key, log)
    const { parcel, device } = log
    entryOf(this.#logsOf, parcel.toString('hex')).set(key, { log: log.log, parcel, device })
  }

  #version(version: VersionInfo & Stamp): void {
    const versions = entryOf(this.#versions, version.parcel.toString('hex'))
    const id = version.version.toString('hex')
    const known = versions.get(id)
    // A version may be announced anew by its author, from another log.
    const isNewer = known !== undefined && known.device.equals(version.device)
    if (known === undefined || laterOf(version, known) > 0 === isNewer) versions.set(id, version)
  }

  #annex(all: Map<string, Map<string, AnnexInfo & Stamp>>, annex: AnnexInfo & Stamp): void {
    const annexes = entryOf(all, annex.version.toString('hex'))
    const device = annex.device.toString('hex')
    const known = annexes.get(device)
    const newer = known === undefined ? 1 : annex.serial - known.serial || laterOf(annex, known)
    if (newer > 0) annexes.set(device, annex)
  }

  #lease(bytes: Buffer): void {
    const name = bytes.toString('latin1')
    if (this.#leaseBytes.has(name)) return
    const entry = decodeLeaseEntry(bytes)
    this.#leaseBytes.add(name)
    const id = entry.body.parcel.toString('hex')
    const entries = this.#leases.get(id)
    if (entries === undefined) this.#leases.set(id, [entry])
    else entries.push(entry)
  }

  #view(): Map<string, ParcelInfo> {
    if (this.#shown !== null) return this.#shown
    const shown = new Map<string, ParcelInfo>()
    const names = new Set<string>()
    const ordered = [...this.#named].sort(([, a], [, b]) => laterOf(a, b))
    for (const [id, named] of ordered) {
      const made = this.#made.get(id)
      if (made === undefined || this.#removed.has(id)) continue
      let { name } = named
      if (names.has(name)) name = `${named.name}@${this.nameOf(named.by)}`
      for (let n = 4; names.has(name); n++) {
        name = `${named.name}@${this.nameOf(named.by)}-${id.slice(0, n)}`
      }
      names.add(name)
      const compressionLevel = this.#levels.get(id)?.level ?? null
      shown.set(id, { ...made.info, name, compressionLevel })
    }
    this.#shown = shown
    return shown
  }
}

function entryOf<T>(map: Map<string, Map<string, T>>, key: string): Map<string, T> {
  let found = map.get(key)
  if (found === undefined) map.set(key, (found = new Map<string, T>()))
  return found
}
