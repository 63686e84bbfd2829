/**
 * The runners of this device, one per parcel in use, and one per export. They outlive the daemon; a new daemon adopts them.
 *
 * A VM that ended is cleaned up here: a guest that powered itself off becomes a version without memory, one
 * that died leaves its flushed disk for the next resume.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir, rmdir } from 'node:fs/promises'
import path from 'node:path'
import { assert } from '../../base/errors.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import type { Handlers } from '../../ipc/channel.ts'
import type { OpenParams, RunnerStatus, SeedJson } from '../../runner/protocol.ts'
import { unmountBelow } from '../../vmm/qemu/mounts.ts'
import type { FleetNode } from '../node.ts'
import { announceVersion } from '../versions/announce.ts'
import { forgetBad } from '../versions/repair.ts'
import { RunnerHost } from './runner-host.ts'
import type { RunnerProcess } from './runner-process.ts'
import { connectRunner, startRunner } from './runner-process.ts'
import { Standby } from './standby.ts'
import type { OpenedPack } from '../packs/packs.ts'
import type { OpenedVersion } from '../versions/versions.ts'
import { commitParams } from '../versions/heads.ts'
import { alreadyInUse, notRunning } from './not-running.ts'

/** A runner that has nothing more to do ends within that time. */
const END_MS = 10_000
/** A runner that works tells how it is within that time. */
const STATUS_MS = 2000

const READER = 'read-'

/** Commands that need a VM which nobody is starting or stopping. */
const SETTLED_ONLY = new Set(['suspend', 'checkpoint', 'poweroff'])

/** `read` ones only look at a version: any number of them, beside whatever else is done with the parcel. */
export type RunnerPurpose = 'vm' | 'serve' | 'work' | 'read'

export interface Runner {
  parcel: Buffer
  purpose: RunnerPurpose
  /** Its socket is there. */
  directory: string
  process: RunnerProcess
  host: RunnerHost
  status: RunnerStatus | null
  /** Id (hex) of the version that it was opened on. */
  base: string | null
  /** A use case is about to end the VM: nobody else cleans up. */
  ending: boolean
}

export class Runners {
  readonly #node: FleetNode
  readonly #byParcel = new Map<string, Runner>()
  readonly #readers = new Set<Runner>()
  readonly #starting = new Set<string>()
  readonly #standby: Standby

  constructor(node: FleetNode) {
    this.#node = node
    this.#standby = new Standby({
      directory: node.paths.home,
      wanted: () => this.#isIdle() && node.registry.parcels().length > 0
    })
  }

  /** The runner of a parcel that runs or is served here. */
  get(parcel: Buffer): Runner | null {
    return this.#byParcel.get(parcel.toString('hex')) ?? null
  }

  /** Has a runner, or is about to get one, or is reserved. */
  inUse(parcel: Buffer): boolean {
    const id = parcel.toString('hex')
    return this.#byParcel.has(id) || this.#starting.has(id)
  }

  list(): Runner[] {
    return [...this.#byParcel.values(), ...this.#readers]
  }

  /** Asks all runners how they are. */
  async refreshStatus(): Promise<void> {
    const asked = this.list().map(async (runner) => {
      const signal = AbortSignal.timeout(STATUS_MS)
      runner.status = await runner.process.call('status', null, { signal })
    })
    await Promise.allSettled(asked) // one that hangs or ended is as it was
  }

  /** Ids (hex) of versions that are open in runners here. */
  versions(): string[] {
    return this.list()
      .map(({ base, status }) => status?.version ?? base)
      .filter((version) => version !== null)
  }

  /** Is that version (id in hex) open in a runner here? */
  uses(version: string): boolean {
    return this.versions().includes(version)
  }

  /** The runner of a running VM. Throws `PARCEL_NOT_RUNNING`; `verb`: the command that wants it. */
  running(parcel: ParcelInfo, verb: string): Runner {
    const runner = this.get(parcel.id)
    if (runner?.purpose === 'vm' && (!runner.ending || !SETTLED_ONLY.has(verb))) return runner
    throw notRunning(this.#node, parcel, verb)
  }

  /** Starts a runner for a parcel. Rejects with `PARCEL_RUNNING` when there is one already. */
  async start(parcel: ParcelInfo, purpose: RunnerPurpose): Promise<Runner> {
    const id = parcel.id.toString('hex')
    const known = this.#byParcel.get(id)
    if (known !== undefined || this.#starting.has(id)) {
      throw alreadyInUse(parcel, known, purpose)
    }
    this.#starting.add(id)
    this.#node.rehearsals.cancel()
    try {
      return await this.#launch(parcel.id, purpose, this.#node.runDirectory(parcel.id))
    } finally {
      this.#starting.delete(id)
    }
  }

  /** Starts one that reads a version, whatever else is done with the parcel. */
  startReader(parcel: ParcelInfo): Promise<Runner> {
    const name = `${READER}${randomBytes(3).toString('hex')}`
    return this.#launch(parcel.id, 'read', path.join(this.#node.paths.run, name))
  }

  async #launch(parcel: Buffer, purpose: RunnerPurpose, directory: string): Promise<Runner> {
    const log = path.join(this.#node.stateDirectory(parcel), 'runner.log')
    const { runner, handlers } = this.#prepare(parcel, purpose, directory)
    const standby = purpose === 'vm' ? this.#standby : null
    if (standby === null) this.#standby.drop()
    try {
      runner.process = await startRunner(directory, log, handlers, standby)
    } catch (err) {
      this.#standby.plan()
      throw err
    }
    this.#keep(runner)
    return runner
  }

  /** Nothing runs, and nothing is about to. */
  #isIdle(): boolean {
    return this.#byParcel.size === 0 && this.#readers.size === 0 && this.#starting.size === 0
  }

  /**
   * Keeps a parcel from being started here until the returned function is called. Throws `PARCEL_RUNNING` when it
   * is in use, or read.
   */
  reserve(parcel: ParcelInfo): () => void {
    const id = parcel.id.toString('hex')
    const reader = [...this.#readers].find((known) => known.parcel.equals(parcel.id))
    const known = this.#byParcel.get(id) ?? reader
    if (known !== undefined || this.#starting.has(id)) {
      throw alreadyInUse(parcel, known, 'work')
    }
    this.#starting.add(id)
    this.#node.rehearsals.cancel()
    return () => void this.#starting.delete(id)
  }

  /** What every session starts from. */
  openParams(runner: Runner, version: { info: VersionInfo; opened: OpenedVersion } | null) {
    const node = this.#node
    const { parcel } = runner
    const params: OpenParams = {
      parcel: parcel.toString('hex'),
      version: version?.info.version.toString('hex') ?? null,
      recordBytes: version?.opened.encoded.byteLength ?? 0,
      keys: version?.opened.record.logs.map((log) => runner.host.keysJson(log.key)) ?? [],
      pack: null,
      dedupKey: node.registry.keyring.dedupKey.toString('hex'),
      seeds: node.lookaside.usableSeeds,
      overlayKey: node.overlayKey.toString('hex'),
      storeDirectory: node.paths.store,
      stateDirectory: node.stateDirectory(parcel),
      runDirectory: runner.directory,
      cacheDirectory: node.cacheDirectory
    }
    return params
  }

  async open(
    runner: Runner,
    version: { info: VersionInfo; opened: OpenedVersion } | null,
    pack: OpenedPack | null = null
  ): Promise<void> {
    if (version === null) {
      await runner.process.call('open', this.openParams(runner, null))
      return
    }
    // Its maps may have been issued anew since: from here on they stay as they are chosen now.
    const { info } = version
    const opened = await this.#node.versions.open(info, { local: true })
    this.#node.versions.refuseDoomed(info)
    runner.base = info.version.toString('hex')
    const params = this.openParams(runner, { info, opened })
    const attachments = [opened.encoded, opened.annex?.encoded ?? Buffer.alloc(0)]
    if (pack !== null) {
      const { annex, head } = pack
      const keys = runner.host.keysJson(annex.log)
      params.pack = { keys, block: annex.block, headBytes: head.byteLength }
      attachments.push(head)
      runner.host.packLog = annex.log
    }
    await runner.process.call('open', params, { attachments })
  }

  /** Other images and directories are nearby now. */
  async tellSeeds(seeds: SeedJson[]): Promise<void> {
    await Promise.allSettled(this.list().map(({ process }) => process.call('seeds', { seeds })))
  }

  /** Ends a runner whose work is done or failed. */
  async end(runner: Runner, dropOverlays: boolean): Promise<void> {
    runner.ending = true
    try {
      await runner.process.call('quit', { dropOverlays })
    } catch (err) {
      if ((err as { code?: string }).code !== 'RUNNER_GONE') throw err
    }
    await this.ended(runner)
  }

  /** Resolves when a runner that was told to end has ended. */
  async ended(runner: Runner): Promise<void> {
    const { channel } = runner.process
    if (!channel.closed) await once(channel, 'close', { signal: AbortSignal.timeout(END_MS) })
    await rmdir(runner.directory).catch(() => {}) // something is left in it
    this.#forget(runner)
  }

  /** Finds the runners that an earlier daemon left. */
  async adopt(): Promise<void> {
    const names = await readdir(this.#node.paths.run).catch(() => [])
    for (const name of names) {
      const directory = path.join(this.#node.paths.run, name)
      const { runner, handlers } = this.#prepare(Buffer.alloc(0), 'vm', directory)
      const found = await connectRunner(directory, handlers)
      if (found === null) {
        await unmountBelow(directory) // of one that was killed
        continue
      }
      runner.process = found
      const status = await found.call('status', null).catch(() => null) // it just ended
      if (status === null || status.parcel === null) {
        found.channel.close()
        continue
      }
      runner.parcel = Buffer.from(status.parcel, 'hex')
      runner.purpose = purposeOf(name, status)
      this.#keep(runner)
      this.#node.logger.info({ pid: status.pid, state: status.state }, 'Found a runner again')
      this.#onevent(runner, status)
    }
    this.#node.registry.on('update', () => this.#standby.plan())
    this.#standby.plan()
  }

  /** Leaves the runners to the next daemon. */
  async detach(): Promise<void> {
    for (const runner of this.list()) runner.process.channel.close()
    this.#byParcel.clear()
    this.#readers.clear()
    await this.#standby.close()
  }

  #prepare(
    parcel: Buffer,
    purpose: RunnerPurpose,
    directory: string
  ): { runner: Runner; handlers: Handlers } {
    const node = this.#node
    const runner: Runner = {
      parcel,
      purpose,
      directory,
      process: null as unknown as RunnerProcess,
      host: null as unknown as RunnerHost,
      status: null,
      base: null,
      ending: false
    }
    runner.host = new RunnerHost({
      store: node.store,
      index: node.index,
      indexer: node.indexer,
      fetcher: node.network.fetcher,
      keysOf: (log) => node.keysOf(log),
      keyEpoch: () => node.registry.keyring.epoch,
      compressionLevel: () => node.registry.parcel(runner.parcel)?.compressionLevel ?? null,
      ownLog: () => {
        assert(runner.parcel.byteLength > 0, 'the runner has been asked for its parcel')
        return node.ownLog(runner.parcel)
      },
      announce: (params, log, block) => announceVersion(node, runner.parcel, params, log, block),
      // Of any parcel: one that was found again may ask before we know its parcel.
      versionExists: (version) =>
        node.registry
          .parcels()
          .some(({ id }) => node.registry.versions(id).some((v) => v.version.equals(version))),
      badPack: (place, error) => node.packs.foundBad(place, error),
      forgetBad: (log, block) => forgetBad(node, log, block),
      mayReference: (log) => {
        const owner = node.registry.logOwner(log)
        if (owner === null || node.registry.parcel(owner.parcel) === null) return false
        return owner.parcel.equals(runner.parcel) || node.registry.versions(owner.parcel).length > 0
      },
      doomed: () => node.doomed,
      onevent: (status) => this.#onevent(runner, status),
      segmentIds: (params, signal) => node.segmentIds.get(params, signal),
      seedsUsed: (used) => {
        for (const { path: at, segments, bytes } of used) {
          node.lookaside.seeds.used(at, segments, bytes)
        }
      }
    })
    return { runner, handlers: runner.host.handlers() }
  }

  #keep(runner: Runner): void {
    if (runner.purpose === 'read') this.#readers.add(runner)
    else this.#byParcel.set(runner.parcel.toString('hex'), runner)
    runner.process.channel.once('close', () => this.#forget(runner))
  }

  #forget(runner: Runner): void {
    this.#readers.delete(runner)
    const id = runner.parcel.toString('hex')
    if (this.#byParcel.get(id) === runner) this.#byParcel.delete(id)
    this.#standby.plan()
  }

  #onevent(runner: Runner, status: RunnerStatus): void {
    runner.status = status
    if (runner.purpose !== 'vm' || runner.ending || status.state !== 'gone') return
    runner.ending = true
    this.#afterExit(runner, status).catch((err: Error) => {
      this.#node.logger.error({ err }, 'A VM that ended could not be cleaned up')
    })
  }

  /** The VM ended by itself. */
  async #afterExit(runner: Runner, status: RunnerStatus): Promise<void> {
    if (status.exit === 'died') this.#node.logger.warn({ reason: status.reason }, 'A VM died')
    if (status.exit === 'guest') {
      await this.commitDisks(runner, 'poweroff', '').catch((err: Error) => {
        this.#node.logger.error(
          { err },
          'The disk of a guest that shut down could not be committed'
        )
      })
    }
    await this.end(runner, false)
  }

  /** The disks of a VM that is gone as a version without memory; null when they are as they were. */
  async commitDisks(runner: Runner, cause: string, message: string) {
    const params = commitParams(this.#node, runner, cause, message)
    return runner.process.call('commitDisks', params)
  }
}

/** Of a runner of an earlier daemon, by the name of its directory and by what it does. */
function purposeOf(name: string, { state }: RunnerStatus): RunnerPurpose {
  if (name.startsWith(READER)) return 'read'
  if (state === 'serving') return 'serve'
  return state === 'idle' ? 'work' : 'vm'
}
