/** Which of the maps of a version must stay so that it stays readable here. */
import type { VersionInfo } from '../../fleet/index.ts'
import { Probe, type RecordPlace } from '../../parcel/mark.ts'
import type { FleetNode } from '../node.ts'
import { damaged, storedIn, storedSource } from './sweep.ts'

export class KeptPlaces {
  readonly #node: FleetNode
  #probe: Promise<Probe> | null = null

  constructor(node: FleetNode) {
    this.#node = node
  }

  /**
   * The preferred one that has all of the version here; where none has, whatever is here of any. Of a version that
   * somebody works with (`isUsed`) all, because it was opened by one of them.
   */
  async of(info: VersionInfo, isUsed: boolean): Promise<RecordPlace[]> {
    try {
      const places = await this.#node.versions.places(info)
      if (isUsed || places.length === 1) return places
      const whole = await this.whole(places)
      return whole === null ? places : [whole]
    } catch (err) {
      throw damaged(this.#node, info, err)
    }
  }

  /** The first of these by which all of the version is stored here, durably. */
  async whole(places: RecordPlace[]): Promise<RecordPlace | null> {
    const probe = await (this.#probe ??= this.#makeProbe())
    for (const place of places) if (!(await probe.version(place))) return place
    return null
  }

  async #makeProbe(): Promise<Probe> {
    const logs = this.#node.registry.parcelLogs().map(({ log }) => log)
    const here = await storedIn(this.#node, logs)
    return new Probe(storedSource(this.#node), here, { outside: true })
  }
}
