/**
 * Versions that this device fetches without a guest that needs them: what another device asks it to keep, the newest of
 * what a standing order follows (`orders/`), and what a lease that was granted to it starts from, so that it can go on
 * when the author is switched off.
 *
 * - One version at a time, in the order in which they were wanted, and behind everything that a guest needs.
 * - What was granted waits a little first: who resumes it at once needs a small part of it, soon, and not all.
 * - What nobody sends is put aside; what was granted is wanted again after a device connected or news came.
 */
import { statfs } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../../base/errors.ts'
import type { ProgressReporter } from '../../base/progress.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import { completeVersion } from './complete-version.ts'
import type { FleetNode } from '../node.ts'
import { headVersion } from './heads.ts'
import { makeWay } from './pace.ts'

/** Between news of a grant and the fetch of its version. */
const GRACE_MS = 5000
const LOOK_MS = 1000
/** Versions wanted at once; more are refused. */
const WANTED_MAX = 1024
/** Left free for everything else on the disk. */
const SPARE_BYTES = 256 * 1024 ** 2

/** How far the fetch of a version is. */
export interface FetchState {
  holds: boolean
  bytesLocal: number
  bytesTotal: number
}

interface Wanted {
  info: VersionInfo
  bytesLocal: number
  /** Hash (hex) of the lease that was granted, while nobody asked: no more of it when the parcel is used here. */
  grant: string | null
  /** A standing order wants it, and nobody else: no more of it when there is a newer one. */
  followed?: true
}

export class ProactiveFetch {
  readonly #node: FleetNode
  readonly #wanted = new Map<string, Wanted>()
  /** Grants to this device, by their hash in hex: when each may be fetched (monotonic), or that it needs nothing more. */
  readonly #grants = new Map<string, number | 'settled'>()
  #working = false
  #looking = false

  constructor(node: FleetNode) {
    this.#node = node
  }

  start(): void {
    const { registry, network } = this.#node
    const look = () => void this.#look().catch(safetyCatch) // the node closes
    registry.on('update', look)
    network.on('peer-add', look)
    look()
  }

  /** Another device wants this version to be here. Rejects with `DISK_FULL`, or `BUSY`. */
  async ask(info: VersionInfo): Promise<FetchState> {
    if (this.#node.evicting) throw new HyperparcelError('BUSY', 'Data is being dropped there')
    const known = this.#wanted.get(idOf(info))
    if (known !== undefined) {
      known.grant = null
      delete known.followed
      return { holds: false, bytesLocal: known.bytesLocal, bytesTotal: info.bytesTotal }
    }
    const { bytes: bytesLocal, whole } = (await this.#node.versions.local([info]))[0]
    if (!whole) await this.#want({ info, bytesLocal, grant: null })
    return { holds: whole, bytesLocal, bytesTotal: info.bytesTotal }
  }

  /** The user drops that parcel's data here: what was granted of it until now is not fetched again. */
  settle(parcel: ParcelInfo): void {
    const { head } = this.#node.leases.chain(parcel.id)
    if (head !== null) this.#grants.set(head.hash.toString('hex'), 'settled')
  }

  /** Is it being fetched, or will it be? */
  wants(info: VersionInfo): boolean {
    return this.#wanted.has(idOf(info))
  }

  /** A standing order wants this version to be here, which is not all here. Rejects with `DISK_FULL`, or `BUSY`. */
  async follow(info: VersionInfo): Promise<void> {
    const [{ bytes: bytesLocal }] = await this.#node.versions.local([info])
    if (!this.wants(info)) await this.#want({ info, bytesLocal, grant: null, followed: true })
  }

  /** Looks for grants to this device, until none has to wait any more. */
  async #look(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    try {
      for (let again = true; again;) {
        await sleep(LOOK_MS, undefined, { signal: this.#node.closingSignal })
        again = false
        for (const parcel of this.#node.registry.parcels()) {
          if (await this.#mustWait(parcel)) again = true
        }
      }
    } finally {
      this.#looking = false
    }
  }

  /** Has a fetch of what was granted wait for its time? Wants it when that has come. */
  async #mustWait(parcel: ParcelInfo): Promise<boolean> {
    const { registry, leases, runners, versions, identity } = this.#node
    const { head } = leases.chain(parcel.id)
    if (head === null) return false
    const { holder, released, reason, version } = head.entry.body
    const granted = reason === 'grant' && !released && version !== null
    if (!granted || !holder.equals(identity.device.publicKey)) return false
    const lease = head.hash.toString('hex')
    const grant = this.#grants.get(lease)
    if (grant === 'settled') return false
    if (grant === undefined) this.#grants.set(lease, performance.now() + GRACE_MS)
    if (grant === undefined || performance.now() < grant) return true
    const known = registry.versions(parcel.id)
    const used = runners.inUse(parcel.id) || known.some((info) => info.lease.equals(head.hash))
    const info = known.find((one) => one.version.equals(version))
    if (info === undefined && !used) return false // more news will come
    this.#grants.set(lease, 'settled')
    if (info === undefined || used || this.#wanted.has(idOf(info))) return false
    const { bytes: bytesLocal, whole } = (await versions.local([info]))[0]
    if (whole) return false
    await this.#want({ info, bytesLocal, grant: lease }).catch((err: unknown) => {
      const context = { err, parcel: parcel.name }
      this.#node.logger.warn(context, 'The version of a granted lease is not fetched')
    })
    return false
  }

  async #want(wanted: Wanted): Promise<void> {
    const { network, registry } = this.#node
    if (network.limits.metered) {
      throw new HyperparcelError(
        'BUSY',
        `The link of ${registry.name} is metered: it fetches nothing ahead`
      )
    }
    if (this.#wanted.size >= WANTED_MAX) {
      throw new HyperparcelError('BUSY', 'Too many versions are being fetched already')
    }
    const { bavail, bsize } = await statfs(this.#node.paths.home)
    const bytes = wanted.info.bytesTotal - wanted.bytesLocal + SPARE_BYTES
    if (bavail * bsize < bytes) {
      const mib = Math.ceil((bytes - bavail * bsize) / 1024 ** 2)
      throw new HyperparcelError(
        'DISK_FULL',
        `The disk of ${registry.name} has ${mib} MiB too little room`
      )
    }
    this.#wanted.set(idOf(wanted.info), wanted)
    void this.#work() // never rejects
  }

  async #work(): Promise<void> {
    if (this.#working) return
    this.#working = true
    for (const [name, wanted] of this.#wanted) {
      if (wanted.followed === true && this.#isPointless(wanted.info)) {
        this.#wanted.delete(name)
        continue
      }
      await this.#fetch(wanted).catch((err: unknown) => {
        if (wanted.grant !== null) this.#grants.delete(wanted.grant) // looked at again after news
        const context = { err, version: wanted.info.number }
        this.#node.logger.warn(context, 'A version could not be fetched')
      })
      this.#wanted.delete(name)
    }
    this.#working = false
  }

  #isPointless({ parcel, version }: VersionInfo): boolean {
    if (this.#node.orders.active('follow', parcel).length === 0) return true
    return headVersion(this.#node, parcel)?.version.equals(version) !== true
  }

  async #fetch(wanted: Wanted): Promise<void> {
    const node = this.#node
    const { info, bytesLocal } = wanted
    const left = new AbortController()
    const signal = AbortSignal.any([node.closingSignal, left.signal])
    const pace = () => {
      if (wanted.grant !== null && node.runners.inUse(info.parcel)) {
        left.abort(new HyperparcelError('INTERRUPTED', 'The parcel is in use here now'))
      }
      if (wanted.followed === true && node.orders.active('follow', info.parcel).length === 0) {
        left.abort(new HyperparcelError('INTERRUPTED', 'The parcel is not followed any more'))
      }
      signal.throwIfAborted()
      return makeWay(node, signal)
    }
    const why = wanted.followed === true ? 'follow' : wanted.grant === null ? 'asked' : 'granted'
    const progress: ProgressReporter = ({ done }) => (wanted.bytesLocal = bytesLocal + (done ?? 0))
    await completeVersion(node, info, {}, { signal, progress, pace, why })
    await node.store.flush() // whoever waits for it wants it to last
    node.logger.info({ version: info.number }, 'A version was fetched ahead of its use')
    node.orderCalls.tellHeld(info)
  }
}

function idOf({ version }: VersionInfo): string {
  return version.toString('hex')
}
