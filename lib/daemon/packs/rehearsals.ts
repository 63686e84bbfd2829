/**
 * Rehearses versions that were suspended here, one at a time, while this device has nothing better to do; where that is
 * not wanted or not possible, a pack is made of what the last resume touched. Any use of a parcel ends what is under way.
 */
import { rm, statfs } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import { withDeadline } from '../../base/deadline.ts'
import { HyperparcelError } from '../../base/errors.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import { planRehearsal, type RehearsalDecision } from '../../policy/rehearsal-plan.ts'
import type { MachineConfig } from '../../vmm/driver.ts'
import type { FleetNode } from '../node.ts'
import type { OpenedVersion } from '../versions/versions.ts'
import { PackWorker, type PackWork } from './pack-worker.ts'

/** Between a suspend and its rehearsal: who resumes at once is not disturbed. */
const GRACE_MS = 1500
/** Between two looks whether there is nothing better to do. */
const LOOK_MS = 5000
/** Given up then: it is not worth waiting for. */
const LOOKS_MAX = 120
/** On a busy device a VM may fail to start in time. */
const ATTEMPTS = 3
/** However long it takes, with a device as busy as it may be. */
const WORK_MS_MAX = 180_000

export class Rehearsals {
  readonly #node: FleetNode
  #current: { parcel: Buffer; abort: AbortController; ended: Promise<void> } | null = null
  /** Packs made, rehearsals cancelled, and failed since the daemon started. */
  made = 0
  cancelled = 0
  failed = 0

  constructor(node: FleetNode) {
    this.#node = node
  }

  /** What a daemon that was killed left. */
  async start(): Promise<void> {
    for (const { id } of this.#node.registry.parcels()) {
      const left = path.join(this.#node.stateDirectory(id), 'rehearsal')
      await rm(left, { recursive: true, force: true }).catch(safetyCatch)
    }
  }

  /** A version was suspended here; `names`: what its last resume touched. */
  consider(info: VersionInfo, names: Buffer): void {
    void this.#consider(info, names) // never rejects
  }

  /** Is something under way for that parcel, or about to begin? */
  isAbout(parcel: Buffer): boolean {
    return this.#current?.parcel.equals(parcel) === true
  }

  /** Somebody uses a parcel of this device, or it ends. Does not wait. */
  cancel(): void {
    if (this.#current === null || this.#current.abort.signal.aborted) return
    this.cancelled++
    this.#current.abort.abort(new HyperparcelError('INTERRUPTED', 'The device is used'))
  }

  async close(): Promise<void> {
    this.cancel()
    await this.#current?.ended
  }

  async #consider(info: VersionInfo, names: Buffer): Promise<void> {
    this.cancel()
    await this.#current?.ended
    const abort = new AbortController()
    const signal = AbortSignal.any([abort.signal, this.#node.closingSignal])
    const ended = this.#work(info, names, signal).catch((err: Error) => {
      if (signal.aborted) return
      this.failed++
      this.#node.logger.warn({ err, version: info.number }, 'No resume pack was made')
    })
    const current = { parcel: info.parcel, abort, ended }
    this.#current = current
    await ended
    if (this.#current === current) this.#current = null
  }

  async #work(info: VersionInfo, names: Buffer, signal: AbortSignal): Promise<void> {
    await sleep(GRACE_MS, undefined, { signal })
    const opened = await this.#node.versions.open(info, { local: true })
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const decision = await this.#decide(info, opened, signal)
      if (decision !== 'now') break
      try {
        const machine = JSON.parse(opened.record.machine!) as MachineConfig
        return await this.#make(info, { rehearse: machine }, signal)
      } catch (err) {
        if (signal.aborted || (attempt === ATTEMPTS && names.byteLength === 0)) throw err
        this.#node.logger.warn({ err, version: info.number, attempt }, 'A rehearsal failed')
        await sleep(LOOK_MS, undefined, { signal })
      }
    }
    if (names.byteLength > 0) await this.#make(info, { names }, signal)
  }

  async #decide(
    info: VersionInfo,
    opened: OpenedVersion,
    signal: AbortSignal
  ): Promise<RehearsalDecision> {
    for (let look = 0; look < LOOKS_MAX; look++) {
      const decision = planRehearsal(await this.#facts(info, opened))
      if (decision !== 'later') return decision
      await sleep(LOOK_MS, undefined, { signal })
    }
    return 'never'
  }

  async #facts(info: VersionInfo, { record }: OpenedVersion) {
    const node = this.#node
    const { bavail, bsize } = await statfs(node.paths.home)
    const memory = record.volumes.find(({ name }) => name === 'memory')
    const isOwn = ({ device }: { device: Buffer }) => device.equals(node.identity.device.publicKey)
    return {
      wanted: node.settings.rehearsal !== false,
      resumable: record.state !== null && record.machine !== null,
      whole: await node.versions.holds(info),
      rehearsed: node.registry.packs(info.version).some(isOwn),
      busy: node.runners.list().length > 0 || node.evicting || node.repacking,
      guestBytes: memory?.sizeBytes ?? 0,
      memoryFreeBytes: os.freemem(),
      diskFreeBytes: bavail * bsize
    }
  }

  async #make(info: VersionInfo, work: PackWork, signal: AbortSignal): Promise<void> {
    const worker = new PackWorker(this.#node, info)
    const began = performance.now()
    try {
      const { segments, chunks, answered, bytesStored } = await withDeadline(
        WORK_MS_MAX,
        signal,
        (limit) => worker.run(work, limit)
      )
      this.made++
      const ms = Math.round(performance.now() - began)
      const how = 'rehearse' in work ? 'rehearsal' : 'trace'
      this.#node.logger.info(
        { version: info.number, how, segments, chunks, answered, bytesStored, ms },
        'A resume pack was made'
      )
    } finally {
      await worker.ended
    }
  }
}
