/**
 * What one runner process does, told by the daemon: open a parcel, then run it, serve it, import into it or
 * export from it. `main.ts` owns the process, this the work.
 */
import { mkdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import { HyperparcelError, assert, type ErrorShape } from '../base/errors.ts'
import type { Progress } from '../base/progress.ts'
import { Reply, type Handler } from '../ipc/channel.ts'
import type { MachineConfig, VmmDriver } from '../vmm/driver.ts'
import {
  beginCommit,
  metaOf,
  publish,
  storeVersion,
  summarize,
  type NewVersion,
  type VolumeInput
} from './commit-run.ts'
import { Context } from './context.ts'
import { exportImage } from './export-image.ts'
import { Exports } from './exports.ts'
import type { Host } from './host.ts'
import { importImage } from './import-image.ts'
import { findLeftovers } from './leftovers.ts'
import { encodeNames, packTrace } from './pack-run.ts'
import { rehearse } from './rehearsal.ts'
import { repackSegments } from './repack.ts'
import { inspectImage } from './qemu-img.ts'
import { verifyVersions } from './verify.ts'
import { VmSession } from './vm-session.ts'
import { VolumeSet } from './volume-set.ts'
import type {
  CommitParams,
  CommitSummary,
  ExportParams,
  ImportParams,
  ImportSummary,
  Leftovers,
  OpenParams,
  PackParams,
  RehearseParams,
  RepackParams,
  RunnerApi,
  RunnerStatus,
  ServeParams,
  SnapshotParams,
  StartParams,
  VerifyParams
} from './protocol.ts'

export interface SessionOptions {
  host: Host
  /** The VMM driver of that name, with a directory for what it may remember. */
  driver(name: string, cacheDirectory: string): VmmDriver
  /** The session is over: the process may end. */
  onend(): void
}

type RunnerHandlers = { [M in keyof RunnerApi]: Handler }

/** An import or export that was told to end is waited for that long. */
const WORK_END_MS = 2000

export class Session {
  readonly #opts: SessionOptions
  #context: Context | null = null
  #vm: VmSession | null = null
  #served: { volumes: VolumeSet; exports: Exports } | null = null
  /** An import or export under way, and what ends it. */
  #work: { ended: Promise<unknown>; abort: AbortController } | null = null

  constructor(opts: SessionOptions) {
    this.#opts = opts
  }

  handlers(): RunnerHandlers {
    return {
      status: () => this.status(),
      inspect: ({ file, asDisk }: RunnerApi['inspect']['params']) => inspectImage(file, asDisk),
      leftovers: (params: RunnerApi['leftovers']['params']): Promise<Leftovers> =>
        findLeftovers(
          params.stateDirectory,
          Buffer.from(params.overlayKey, 'hex'),
          this.#opts.host
        ),
      open: async (params: OpenParams, { attachment }) => {
        await mkdir(params.stateDirectory, { recursive: true, mode: 0o700 })
        this.#context = await Context.open(params, attachment, this.#opts.host)
        return null
      },
      seeds: ({ seeds }: RunnerApi['seeds']['params']) => {
        this.#context?.seeds.use(seeds)
        return null
      },
      import: (params: ImportParams, { signal, event }) =>
        this.#during(signal, (either) => this.#import(params, either, event)),
      start: (params: StartParams) => this.#start(params),
      cancelStart: (reason: ErrorShape) => {
        this.#vm?.cancelStart(HyperparcelError.fromJSON(reason))
        return null
      },
      snapshot: async (params: SnapshotParams, { event }) => {
        const summary = await this.#running().snapshot(params, event)
        if (params.quit) this.#end()
        return summary
      },
      cancelSnapshot: () => {
        this.#vm?.cancelSnapshot()
        return null
      },
      commitDisks: (params: CommitParams, { event }) => this.#commitDisks(params, event),
      serve: (params: ServeParams) => this.#serve(params),
      export: (params: ExportParams, { signal, event }) =>
        this.#during(signal, (either) => this.#export(params, either, event)),
      verify: (params: VerifyParams, { signal, event }) =>
        verifyVersions(this.#opts.host, params, signal, event),
      repack: (params: RepackParams, { attachment, signal, event }) =>
        repackSegments(this.#opts.host, params, attachment, signal, event),
      trace: () => {
        const names = this.#context?.trace?.names() ?? []
        return new Reply(null, [encodeNames(names)])
      },
      rehearse: (params: RehearseParams, { attachment, signal }) =>
        this.#once(() => {
          const driver = this.#opts.driver(params.machine.vmm, params.open.cacheDirectory)
          return rehearse(this.#opts.host, driver, params, attachment, signal)
        }),
      pack: (params: PackParams, { attachment }) =>
        this.#once(() => packTrace(this.#opts.host, params, attachment)),
      powerButton: async () => {
        await this.#running().powerButton()
        return null
      },
      refresh: async () => {
        await this.#context?.refresh()
        return null
      },
      quit: async ({ dropOverlays }: { dropOverlays: boolean }) => {
        await this.close(dropOverlays)
        this.#end()
        return null
      }
    }
  }

  status(): RunnerStatus {
    const vm = this.#vm
    const context = this.#context
    return {
      pid: process.pid,
      state: vm?.state ?? (this.#served === null ? 'idle' : 'serving'),
      parcel: context?.params.parcel ?? null,
      version: context?.versionId?.toString('hex') ?? null,
      reason: vm?.reason ?? null,
      exit: vm?.exit ?? null,
      waitingMs: Math.round(context?.source.waitingMs ?? 0),
      dirtyBytes: vm?.volumes.dirtyBytes ?? this.#served?.volumes.dirtyBytes ?? 0,
      aheadBytes: vm?.bytesAhead ?? 0,
      writable: this.#served?.volumes.writable ?? vm !== null,
      start: vm?.start ?? null,
      memoryBytes: vm?.memoryBytes ?? 0,
      answerBytes: context === null ? null : context.answerBytes
    }
  }

  /** The process ends with it. */
  async #once<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await run()
    } finally {
      this.#end()
    }
  }

  /** So that nothing is left behind when the session ends meanwhile. */
  async #during<T>(signal: AbortSignal, run: (either: AbortSignal) => Promise<T>): Promise<T> {
    const abort = new AbortController()
    const ended = run(AbortSignal.any([signal, abort.signal]))
    this.#work = { ended, abort }
    try {
      return await ended
    } finally {
      this.#work = null
    }
  }

  async close(dropOverlays: boolean): Promise<void> {
    this.#work?.abort.abort(new HyperparcelError('INTERRUPTED', 'The session ended'))
    const ended = this.#work?.ended.catch(safetyCatch)
    if (ended !== undefined)
      await Promise.race([ended, sleep(WORK_END_MS, undefined, { ref: false })])
    await this.#vm?.quit(dropOverlays)
    if (this.#served !== null) {
      await this.#served.exports.close()
      if (dropOverlays) await this.#served.volumes.destroy()
      else await this.#served.volumes.keep()
    }
    await this.#context?.close()
  }

  async #start(params: StartParams) {
    const context = this.#opened()
    assert(this.#vm === null, 'a runner runs one VM')
    const driver = this.#opts.driver(params.machine.vmm, context.params.cacheDirectory)
    const start = await fitting(driver, params)
    this.#vm = new VmSession(context, driver, start, () => this.#report())
    return this.#vm.run()
  }

  async #import(
    params: ImportParams,
    signal: AbortSignal,
    event: (progress: Progress) => void
  ): Promise<ImportSummary> {
    const context = this.#opened()
    const machine = await this.#plan(params)
    const inputs: VolumeInput[] = params.volumes.map((volume) => ({ ...volume, frozen: null }))
    const { sink, commit, volumes } = await beginCommit(context, inputs)
    let bytesRead = 0
    for (const [i, volume] of params.volumes.entries()) {
      if (volume.file === null) continue
      const image = { ...volume, file: volume.file }
      const { runDirectory } = context.params
      bytesRead += await importImage(commit, volumes[i], image, { runDirectory, signal, event })
    }
    signal.throwIfAborted()
    const result = await commit.finish(metaOf(context, params, machine), volumes, null)
    await publish(context, { ...result, sink })
    return { ...summarize({ ...result, sink }, 0), bytesRead }
  }

  async #plan(params: ImportParams): Promise<string | null> {
    if (params.machine === null) return null
    const driver = this.#opts.driver('qemu', this.#opened().params.cacheDirectory)
    const config: MachineConfig = await driver.plan(params.machine)
    return JSON.stringify(config)
  }

  async #serve({ writable }: ServeParams) {
    const context = this.#opened()
    const version = context.version
    if (version === null) throw nothingToServe()
    const volumes = new VolumeSet(context, () => {})
    const exports = new Exports(context.params.runDirectory)
    this.#served = { volumes, exports }
    for (const { name, sizeBytes, readOnly } of version.record.volumes) {
      const plan = {
        name,
        sizeBytes,
        readOnly: readOnly || !writable || name === 'memory',
        fresh: false,
        memory: false
      }
      await volumes.open(plan, false)
      await exports.add(name, volumes.get(name))
    }
    this.#report()
    return { volumes: exports.uris() }
  }

  async #export(
    { volume, file, format }: ExportParams,
    signal: AbortSignal,
    event: (progress: Progress) => void
  ): Promise<{ bytes: number }> {
    const context = this.#opened()
    if (context.version === null) throw nothingToServe()
    const { sizeBytes } = context.version.volume(volume)
    const volumes = new VolumeSet(context, () => {})
    const plan = { name: volume, sizeBytes, readOnly: true, fresh: false, memory: false }
    await volumes.open(plan, false)
    const source = {
      name: volume,
      map: context.version.map(volume),
      volume: volumes.get(volume)
    }
    try {
      const { runDirectory } = context.params
      await exportImage(source, file, format, { runDirectory, signal, event })
      return { bytes: sizeBytes }
    } finally {
      await volumes.close()
    }
  }

  async #commitDisks(
    params: CommitParams,
    event: (progress: Progress) => void
  ): Promise<CommitSummary | null> {
    if (this.#vm !== null) return this.#vm.commitDisks(params, event)
    assert(this.#served !== null, 'there is something to commit')
    const { volumes, exports } = this.#served
    await exports.close()
    const frozen = volumes.freeze()
    if (!frozen.changed) {
      await volumes.destroy()
      this.#served = null
      return null
    }
    let made: NewVersion
    try {
      const context = this.#opened()
      const machine = context.version?.record.machine ?? null
      const inputs = frozen.inputs.filter((input) => input.name !== 'memory')
      made = await storeVersion(context, inputs, params, null, machine, event)
      await frozen.markCommit(made.id)
      await publish(context, made)
    } catch (err) {
      frozen.abandon()
      throw err
    }
    await volumes.destroy().catch(safetyCatch) // the next resume finds nothing new in them
    this.#served = null
    return summarize(made, 0)
  }

  #opened(): Context {
    assert(this.#context !== null, 'a parcel is open')
    return this.#context
  }

  #running(): VmSession {
    if (this.#vm !== null) return this.#vm
    throw new HyperparcelError('PARCEL_NOT_RUNNING', 'The VM is still being started', {
      hint: 'Try again in a moment.'
    })
  }

  #report(): void {
    this.#opts.host.call('event', this.status()).catch(() => {}) // asks for it again when it comes back
  }

  #end(): void {
    setTimeout(() => this.#opts.onend(), 20)
  }
}

/** The machine as recorded, when this host can run it, else a new one with the same disks, if the user wants that. */
async function fitting(driver: VmmDriver, params: StartParams): Promise<StartParams> {
  const mismatch = await driver.mismatch(params.machine)
  if (mismatch === null) return params
  if (!params.replan) {
    throw new HyperparcelError(
      'VMM_MISMATCH',
      `The VM cannot continue on this device: ${mismatch}`,
      {
        hint: 'With --reboot it boots here from its disk instead; what was only in its memory is lost.'
      }
    )
  }
  const { macAddress, ...old } = params.machine
  return { ...params, restore: false, machine: { ...(await driver.plan(old)), macAddress } }
}

function nothingToServe(): HyperparcelError {
  return new HyperparcelError('VERSION_NOT_FOUND', 'The parcel has no version yet')
}
