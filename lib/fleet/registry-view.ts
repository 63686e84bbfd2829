/** What the registry answers: the merged view, with this device's eyes. */
import ReadyResource from 'ready-resource'
import { HyperparcelError } from '../base/errors.ts'
import type { LeaseEntry } from '../format/lease.ts'
import type { FleetIdentity } from './identity.ts'
import type { Keyring } from './keyring.ts'
import type { DeviceInfo } from './members.ts'
import type { AnnexInfo, LogInfo, ParcelInfo, VersionInfo } from './parcels.ts'
import type { FleetView } from './view.ts'

export abstract class RegistryView extends ReadyResource {
  abstract readonly identity: FleetIdentity
  abstract readonly keyring: Keyring
  protected abstract readonly view: FleetView
  readonly #parcelKeys = new Map<string, Buffer>()

  /** As the fleet calls this device. */
  get name(): string {
    return this.view.members.get(this.identity.device.publicKey)?.name ?? this.identity.name
  }

  /** Where the fleet meets on the DHT. */
  get topic(): Buffer {
    return this.keyring.topic
  }

  /** May that key connect as a member? True for this device and who admitted it, even before the view says so. */
  admits(publicKey: Buffer): boolean {
    return this.view.members.admits(publicKey)
  }

  /** By name; removed ones too. */
  devices(): DeviceInfo[] {
    return this.view.members.list()
  }

  device(publicKey: Buffer): DeviceInfo | null {
    return this.view.members.get(publicKey)
  }

  deviceByName(name: string): DeviceInfo | null {
    return this.devices().find((device) => !device.removed && device.name === name) ?? null
  }

  /** The device's name, or the start of its key where it is not known. */
  nameOf(publicKey: Buffer): string {
    return this.device(publicKey)?.name ?? publicKey.toString('hex').slice(0, 6)
  }

  parcels(): ParcelInfo[] {
    return this.view.parcels.list()
  }

  parcel(id: Buffer): ParcelInfo | null {
    return this.view.parcels.get(id)
  }

  parcelByName(name: string): ParcelInfo | null {
    return this.view.parcels.byName(name)
  }

  /** The parcel's key, of a removed one too. Throws `PARCEL_NOT_FOUND`, `KEY_MISSING`, `DATA_CORRUPT`. */
  parcelKey(id: Buffer): Buffer {
    const hex = id.toString('hex')
    let key = this.#parcelKeys.get(hex)
    if (key !== undefined) return key
    const parcel = this.view.parcels.keyOf(id)
    if (parcel === null) throw new HyperparcelError('PARCEL_NOT_FOUND', 'That parcel is not known')
    key = this.keyring.unwrapParcelKey(id, parcel.keyEpoch, parcel.wrappedKey)
    this.#parcelKeys.set(hex, key)
    return key
  }

  logsOf(parcel: Buffer): LogInfo[] {
    return this.view.parcels.logsOf(parcel)
  }

  /** Whose log that is, and of which parcel; null for an unknown one. */
  logOwner(log: Buffer): LogInfo | null {
    return this.view.parcels.log(log)
  }

  /** Logs of all parcels. */
  parcelLogs(): LogInfo[] {
    return this.view.parcels.logs()
  }

  /** By number, then time. */
  versions(parcel: Buffer): VersionInfo[] {
    return this.view.parcels.versions(parcel)
  }

  /** Reissued maps of a version, by device: one each, in any order. */
  annexes(version: Buffer): AnnexInfo[] {
    return this.view.parcels.annexes(version)
  }

  /** Resume packs of a version, one a device at most, the latest first. */
  packs(version: Buffer): AnnexInfo[] {
    return this.view.parcels.packs(version)
  }

  /** In any order: `LeaseChain` puts them in order. */
  leaseEntries(parcel: Buffer): readonly LeaseEntry[] {
    return this.view.parcels.leaseEntries(parcel)
  }

  creatorOf(parcel: Buffer): Buffer | null {
    return this.view.parcels.creatorOf(parcel)
  }

  /** Throws `KEY_MISSING`. */
  fleetKey(epoch?: number): Buffer {
    return this.keyring.fleetKey(epoch)
  }

  /** Records of authors that nobody admitted as far as known here. */
  get waiting(): number {
    return this.view.waiting
  }
}
