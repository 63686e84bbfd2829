/**
 * A parcel that runs: volumes, their exports, the VM, and snapshots of it in the order of design §1.
 *
 * Invariants
 * - The VM is ended only after its last version is durable; a snapshot that fails lets it run on.
 * - An error from writing back guest RAM forbids any further version of this run.
 * - All volumes freeze at one moment while the CPUs are stopped.
 */
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { Readable } from 'node:stream'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../base/errors.ts'
import type { ProgressReporter } from '../base/progress.ts'
import { Trace } from '../base/trace.ts'
import { PACK_CHUNKS_MAX } from '../format/pack.ts'
import { TouchTrace } from '../volume/touch-trace.ts'
import type { Vm, VmExit, VmmDriver } from '../vmm/driver.ts'
import { publish, storeVersion, summarize, type NewVersion } from './commit-run.ts'
import type { Context } from './context.ts'
import { PACK_READ_AHEAD_KB, afterPack } from './after-pack.ts'
import { Exports } from './exports.ts'
import type {
  CommitParams,
  CommitSummary,
  RunnerState,
  SnapshotParams,
  StartParams,
  StartResult
} from './protocol.ts'
import { SpaceWatch, refillReserve, requireFree, reserveCommit } from './space.ts'
import { collectState, machineWith } from './saved-vm.ts'
import { StoreAhead } from './store-ahead.ts'
import { busy, memoryLost, runsNot, waitsForData } from './vm-errors.ts'
import { VolumeSet, type FrozenSet } from './volume-set.ts'
import { WriteBack } from './write-back.ts'

const STOP_TIMEOUT_MS = 15_000
const MEMORY = 'memory'
const NEVER = new AbortController().signal

export class VmSession {
  state: RunnerState = 'idle'
  reason: string | null = null
  exit: VmExit['reason'] | null = null
  start: StartResult | null = null
  readonly memoryBytes: number
  readonly volumes: VolumeSet
  readonly #context: Context
  readonly #driver: VmmDriver
  readonly #params: StartParams
  readonly #exports: Exports
  readonly #space: SpaceWatch
  readonly #onchange: () => void
  #vm: Vm | null = null
  #ahead: StoreAhead | null = null
  #writeBack: WriteBack | null = null
  #memoryLost = false
  /** Of the start, until the CPUs may run. */
  #starting: AbortController | null = null
  /** Of the snapshot that is being made. */
  #snapshot: AbortController | null = null

  constructor(context: Context, driver: VmmDriver, params: StartParams, onchange: () => void) {
    this.#context = context
    this.#driver = driver
    this.#params = params
    this.#onchange = onchange
    this.memoryBytes = params.machine.memoryBytes
    this.volumes = new VolumeSet(context, () => this.#space.check())
    this.#exports = new Exports(context.params.runDirectory)
    this.#space = new SpaceWatch(context.params.stateDirectory, {
      onlow: (freeBytes) => this.#pauseForSpace(freeBytes),
      onenough: () => this.#resumeAfterSpace()
    })
  }

  /** Returns when the CPUs run. On an error nothing is left behind but what was there before. */
  async run(): Promise<StartResult> {
    const trace = new Trace()
    const starting = new AbortController()
    this.#starting = starting
    this.#change('starting', null)
    try {
      if (this.#params.restore) this.#context.trace = new TouchTrace(PACK_CHUNKS_MAX)
      await this.#openVolumes()
      trace.mark('volumes')
      const { runDirectory } = this.#context.params
      const inRun = (name: string) => path.join(runDirectory, name)
      const [serial, vnc, vmDirectory] = ['serial.sock', 'vnc.sock', 'vm'].map(inRun)
      await mkdir(vmDirectory, { recursive: true, mode: 0o700 })
      this.#vm = await this.#driver.launch({
        machine: this.#params.machine,
        restore: this.#params.restore,
        nbdSockets: this.#exports.sockets(),
        readAheadKb: this.#context.pack === null ? undefined : PACK_READ_AHEAD_KB,
        runDirectory: vmDirectory,
        serialSocket: serial,
        vncSocket: vnc,
        onExit: (exit) => this.#onexit(exit),
        onPause: (reason) => this.#onpause(reason)
      })
      trace.mark('vmm')
      if (this.#params.restore) {
        await this.#vm.restoreState(Readable.from(this.#context.version!.state()))
        trace.mark('state')
        await this.#context.pack?.answerable(starting.signal)
        trace.mark('answerable')
      }
      starting.signal.throwIfAborted()
      this.#starting = null
      await this.#vm.cont()
      trace.mark('running')
      const freeBytesMin = 2 * this.memoryBytes
      this.#ahead = new StoreAhead(this.#context, this.volumes.values(), { freeBytesMin })
      const vm = this.#vm
      this.#writeBack = new WriteBack(() => this.#syncMemory(vm))
      this.#change('running', null)
      this.#space.start()
      const booted = !this.#params.restore
      const [volumes, clock] = [this.#exports.uris(), booted ? 'booted' : 'pending'] as const
      this.start = { vnc, serial, volumes, booted, clock, trace: trace.steps }
      if (!booted) void this.#setClock(this.#vm, this.start) // never rejects
      return this.start
    } catch (err) {
      this.#change('gone', (err as Error).message)
      await this.#vm?.quit().catch(() => {})
      await this.#dispose(!this.#params.keepOverlays)
      throw starting.signal.aborted ? starting.signal.reason : err
    } finally {
      this.#starting = null
    }
  }

  /** Ends a start that waits for data; too late once the CPUs run. */
  cancelStart(reason: Error): void {
    if (this.#starting === null) return
    this.#starting.abort(reason)
    this.#context.source.giveUp(reason)
  }

  /** A version of the running VM, with its memory. Rejects with `VMM_STOP_TIMEOUT`, `DATA_UNREACHABLE`, `DISK_FULL` …: the VM runs on. */
  async snapshot(params: SnapshotParams, progress: ProgressReporter): Promise<CommitSummary> {
    const vm = this.#running()
    if (this.#snapshot !== null) throw busy()
    const abort = new AbortController()
    const trace = new Trace()
    this.#snapshot = abort
    this.#space.stop()
    this.#writeBack?.stop()
    try {
      // While a generation is frozen and the guest runs on, its RAM may need its space twice.
      if (!params.quit) await requireFree(this.#context.params.stateDirectory, this.memoryBytes)
      progress({ phase: 'writing back memory' })
      await this.#ahead?.stop()
      await this.#syncMemory(vm)
      trace.mark('synced')
      abort.signal.throwIfAborted()
      return await this.#snapshotStopped(vm, params, progress, abort.signal, trace)
    } finally {
      this.#snapshot = null
      if (this.state === 'running') this.#startBackground()
      if (this.state === 'running') this.#space.start()
      else if (this.state === 'paused') this.#space.watchForEnough()
    }
  }

  /** Too late once the version is being published. */
  cancelSnapshot(): void {
    this.#snapshot?.abort(new HyperparcelError('INTERRUPTED', 'The suspend was interrupted'))
  }

  async #snapshotStopped(
    vm: Vm,
    params: SnapshotParams,
    progress: ProgressReporter,
    signal: AbortSignal,
    trace: Trace
  ): Promise<CommitSummary> {
    const before = { state: this.state, reason: this.reason }
    const stopped = performance.now()
    let frozen: FrozenSet | null = null
    let made: NewVersion
    let pauseMs: number
    try {
      await this.#stop(vm)
      this.#change('paused', params.quit ? 'suspending' : 'making a checkpoint')
      trace.mark('stopped')
      const kernelPending = await vm.kernelPending()
      const state = await collectState(await vm.saveState())
      trace.mark('state')
      await this.#syncMemory(vm)
      trace.mark('frozen')
      frozen = this.volumes.freeze()
      if (!params.quit) await this.#goOn(vm, before)
      pauseMs = performance.now() - stopped
      const saved = { state, kernelPending }
      made = await this.#commit(params, frozen, saved, progress, signal, trace)
    } catch (err) {
      frozen?.abandon()
      await this.#goOn(vm, before).catch(safetyCatch)
      throw err
    }
    // The version exists: nothing that fails from here on makes it undone.
    if (params.quit) {
      pauseMs = performance.now() - stopped
      await this.#end(vm)
      trace.mark('ended')
    } else {
      await frozen.release(made.id)
      await refillReserve(this.#context.params.stateDirectory, this.memoryBytes).catch(safetyCatch)
    }
    return summarize(made, pauseMs, trace)
  }

  /** As it was before the snapshot stopped it. */
  async #goOn(vm: Vm, before: { state: RunnerState; reason: string | null }): Promise<void> {
    if (this.state === 'gone') return
    if (before.state !== 'paused') await vm.cont()
    this.#change(before.state, before.reason)
  }

  /** After the VM is gone: its disks as a version without memory. Null when nothing changed. */
  async commitDisks(
    params: CommitParams,
    progress: ProgressReporter
  ): Promise<CommitSummary | null> {
    if (this.state !== 'gone') throw busy()
    await this.#ahead?.stop()
    const frozen = this.volumes.freeze([MEMORY])
    let made: NewVersion
    try {
      made = await this.#commit(params, frozen, null, progress, NEVER)
    } catch (err) {
      frozen.abandon()
      throw err
    }
    await this.volumes.destroy().catch(safetyCatch) // the next resume finds nothing new in them
    return summarize(made, 0)
  }

  /** Unsealed bytes stored ahead of the next version. */
  get bytesAhead(): number {
    return this.#ahead?.bytes ?? 0
  }

  async powerButton(): Promise<void> {
    await this.#running().powerButton()
  }

  /** Ends the VM without a version. */
  async quit(dropOverlays: boolean): Promise<void> {
    this.#space.stop()
    this.#writeBack?.stop()
    await this.#ahead?.stop()
    if (this.#vm !== null) await this.#vm.quit()
    await this.#dispose(dropOverlays)
  }

  /** The VM is gone. */
  async #dispose(dropOverlays: boolean): Promise<void> {
    const { runDirectory, stateDirectory } = this.#context.params
    await this.#exports.close()
    if (dropOverlays) await this.volumes.destroy()
    else await this.volumes.keep()
    await reserveCommit(stateDirectory, 0)
    const vmDirectory = path.join(runDirectory, 'vm')
    await rm(vmDirectory, { recursive: true, force: true }).catch(safetyCatch) // a mount that stays
  }

  async #openVolumes(): Promise<void> {
    const { machine, keepOverlays, restore } = this.#params
    await reserveCommit(this.#context.params.stateDirectory, machine.memoryBytes)
    for (const { name, sizeBytes, readOnly } of this.#context.version?.record.volumes ?? []) {
      if (name === MEMORY) continue
      const plan = { name, sizeBytes, readOnly, fresh: false, memory: false }
      await this.volumes.open(plan, keepOverlays)
    }
    await this.volumes.open(
      {
        name: MEMORY,
        sizeBytes: machine.memoryBytes,
        readOnly: false,
        fresh: !restore,
        memory: true
      },
      false
    )
    for (const [name, volume] of this.volumes.entries()) await this.#exports.add(name, volume)
  }

  async #commit(
    params: CommitParams,
    frozen: FrozenSet,
    saved: { state: Buffer[]; kernelPending: boolean } | null,
    progress: ProgressReporter,
    signal: AbortSignal,
    trace = new Trace()
  ): Promise<NewVersion> {
    const { stateDirectory } = this.#context.params
    await reserveCommit(stateDirectory, 0)
    const machine = machineWith(this.#params.machine, saved?.kernelPending ?? false)
    const inputs = frozen.inputs
    const state = saved?.state ?? null
    const made = await storeVersion(this.#context, inputs, params, state, machine, (event) => {
      signal.throwIfAborted()
      progress(event)
    })
    trace.mark('stored')
    signal.throwIfAborted()
    await frozen.markCommit(made.id)
    await publish(this.#context, made)
    trace.mark('published')
    return made
  }

  async #syncMemory(vm: Vm): Promise<void> {
    if (this.#memoryLost) throw memoryLost()
    try {
      await vm.syncMemory()
    } catch (err) {
      this.#memoryLost = true
      throw memoryLost(err)
    }
  }

  async #stop(vm: Vm): Promise<void> {
    try {
      await vm.stop(STOP_TIMEOUT_MS)
    } catch (err) {
      throw (err as { code?: string }).code === 'VMM_STOP_TIMEOUT' ? waitsForData(err) : err
    }
  }

  /** The guest may need many pages for it that are not here yet: nobody waits for this. */
  async #setClock(vm: Vm, start: StartResult): Promise<void> {
    try {
      await afterPack(this.#context, vm)
      start.clock = await vm.setClock()
    } catch (err) {
      start.clock = `none: ${(err as Error).message}`
    }
    this.#onchange()
  }

  async #end(vm: Vm): Promise<void> {
    await vm.quit().catch(safetyCatch)
    await this.#dispose(true).catch(safetyCatch)
  }

  #onexit(exit: VmExit): void {
    this.#space.stop()
    this.exit = exit.reason
    this.#change('gone', exit.reason === 'died' ? `the VMM died: ${exit.message}` : exit.reason)
  }

  #onpause(reason: string): void {
    this.#change('paused', reason)
    this.#space.watchForEnough()
  }

  async #pauseForSpace(freeBytes: number): Promise<void> {
    if (this.state !== 'running' || this.#snapshot !== null) return
    const mib = Math.floor(freeBytes / 1024 ** 2)
    await this.#vm!.stop(STOP_TIMEOUT_MS)
    this.#change('paused', `the disk is nearly full (${mib} MiB left): free some space`)
  }

  async #resumeAfterSpace(): Promise<void> {
    if (this.state !== 'paused' || this.#snapshot !== null) return
    await this.#vm!.cont()
    this.#change('running', null)
  }

  #running(): Vm {
    if (this.#vm === null || this.state === 'gone' || this.state === 'starting') {
      throw runsNot(this.state, this.reason)
    }
    return this.#vm
  }

  #change(state: RunnerState, reason: string | null): void {
    if (this.state === 'gone' && state !== 'gone') return
    this.state = state
    this.reason = reason
    if (state !== 'running') {
      this.#writeBack?.stop()
      void this.#ahead?.stop() // it does not fail
    } else if (this.#snapshot === null) {
      this.#startBackground()
    }
    this.#onchange()
  }

  /** What makes a later suspend short. */
  #startBackground(): void {
    this.#ahead?.start()
    this.#writeBack?.start()
  }
}
