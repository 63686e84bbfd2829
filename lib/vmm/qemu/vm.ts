/**
 * One virtual machine on QEMU.
 *
 * Invariants
 * - The guest runs on after a `stop` that timed out: QEMU takes our `stop` when the fault is answered, and we then `cont`,
 *   unless somebody asked for another stop meanwhile.
 * - `onExit` is called once, after the processes, mounts and sockets of this VM are gone.
 * - A restored VM with a directly booted kernel has no kernel in QEMU (`kernel-stub.ts`): when its guest resets, a fresh
 *   QEMU boots it on the same memory and disks.
 */
import type { Readable } from 'node:stream'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../../base/errors.ts'
import type { LaunchSpec, Vm, VmExit } from '../driver.ts'
import { setGuestClock } from './guest-clock.ts'
import { Instance } from './instance.ts'
import type { QmpEvent } from './qmp.ts'
import { RunFiles } from './run-files.ts'

/** Bit of the control register CR0; the highest of 32, so negative. */
const PAGING = 1 << 31

export class QemuVm implements Vm {
  readonly #spec: LaunchSpec
  readonly #files: RunFiles
  readonly #restored: boolean
  readonly #readAheadKb: number
  #instance: Instance
  /** A `stop` that QEMU has not answered, and whether somebody still wants it. */
  #stopping: Promise<void> | null = null
  #stopWanted = false
  #ioError: string | null = null
  /** The guest switched itself off. */
  #guestEnded = false
  /** Resolves when the QEMU that follows a reset answers, or the VM has ended instead. */
  #rebooted: Promise<void> | null = null
  #quitting: Promise<void> | null = null
  #ended: Promise<void> | null = null
  /** A sync of guest RAM or the start of a process, never both at once: see `fuse-file.ts`. */
  #exclusive: Promise<unknown> = Promise.resolve()

  private constructor(spec: LaunchSpec, files: RunFiles, instance: Instance, readAheadKb: number) {
    this.#spec = spec
    this.#files = files
    this.#instance = instance
    this.#restored = spec.restore
    this.#readAheadKb = readAheadKb
  }

  static async launch(spec: LaunchSpec, readAheadKb: number): Promise<QemuVm> {
    const files = await RunFiles.open(spec, needsKernel(spec), spec.readAheadKb ?? readAheadKb)
    let vm: QemuVm | null = null
    try {
      const instance = await startInstance(spec, files, spec.restore, (event) => {
        if (vm !== null) vm.#onevent(event)
      })
      vm = new QemuVm(spec, files, instance, readAheadKb)
      vm.#watch(instance)
      return vm
    } catch (err) {
      await files.close()
      throw err
    }
  }

  get pid(): number {
    return this.#instance.pid
  }

  get readAheadSet(): boolean {
    return this.#files.memory.tuned
  }

  setReadAhead(kb: number | null): Promise<void> {
    return this.#files.memory.setReadAhead(kb ?? this.#readAheadKb)
  }

  async pressKey(): Promise<void> {
    const keys = [{ type: 'qcode', data: 'ret' }]
    await this.#instance.qmp.execute('send-key', { keys })
  }

  async restoreState(state: Readable): Promise<void> {
    await this.#instance.state.restore(state)
  }

  async cont(): Promise<void> {
    this.#stopWanted = false
    if (this.#stopping !== null) return // it continues when QEMU has stopped
    this.#ioError = null
    await this.#execute('cont')
  }

  async stop(timeoutMs: number): Promise<void> {
    this.#stopWanted = true
    this.#stopping ??= this.#stop()
    let timer: NodeJS.Timeout
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this.#stopWanted = false
        reject(
          new HyperparcelError('VMM_STOP_TIMEOUT', 'The VM waits for data and cannot be stopped', {
            hint: 'It runs on. Try again when the devices that hold its data are online.'
          })
        )
      }, timeoutMs)
    })
    await Promise.race([this.#stopping, late]).finally(() => clearTimeout(timer))
  }

  syncMemory(): Promise<void> {
    return this.#alone(() => this.#files.memory.sync())
  }

  /** Firmware runs without paging, Linux turns it on with its first instructions. */
  async kernelPending(): Promise<boolean> {
    if (!this.#hasKernel) return false
    const command = { 'command-line': 'info registers' }
    const text = await this.#instance.qmp.execute<string>('human-monitor-command', command)
    const cr0 = /\bCR0=([0-9a-f]+)/i.exec(text)?.[1]
    return cr0 === undefined || (Number.parseInt(cr0, 16) & PAGING) === 0
  }

  saveState(): Promise<Readable> {
    return this.#instance.state.save()
  }

  setClock(): Promise<string> {
    return setGuestClock(this.#instance.qmp, this.#instance.agent)
  }

  async powerButton(): Promise<void> {
    await this.#instance.qmp.execute('system_powerdown')
  }

  quit(): Promise<void> {
    this.#quitting ??= this.#quit()
    return this.#quitting
  }

  async #quit(): Promise<void> {
    if (this.#ended === null) {
      await this.#files.closeMounts()
      await this.#instance.kill()
    }
    await this.#end('quit')
  }

  async #stop(): Promise<void> {
    try {
      await this.#execute('stop', 0)
    } finally {
      this.#stopping = null
    }
    if (!this.#stopWanted) await this.#execute('cont')
  }

  /** Of the QEMU that is there after a reset, where the guest resets itself meanwhile. */
  async #execute(command: 'stop' | 'cont', timeoutMs?: number): Promise<void> {
    for (;;) {
      await this.#rebooted
      try {
        return await this.#instance.qmp.execute(command, {}, timeoutMs)
      } catch (err) {
        if (this.#rebooted === null) throw err // else the guest reset itself
      }
    }
  }

  #watch(instance: Instance): void {
    // QEMU closes QMP after its disks and before its memory: dirty pages of a VM that is gone are not worth writing
    instance.qmp.closed
      .then(() => (this.#rebooted === null ? this.#files.closeMounts() : undefined))
      .catch(safetyCatch)
    instance.process.exited
      .then(async () => {
        if (this.#quitting !== null || this.#rebooted !== null) return
        await this.#end(this.#guestEnded ? 'guest' : 'died')
      })
      .catch(safetyCatch)
  }

  /** Another QEMU in the place of the one that ends now. */
  async #reboot(): Promise<void> {
    await this.#instance.process.exited
    if (this.#quitting !== null) return
    try {
      this.#instance = await this.#alone(async () => {
        await this.#files.openKernel()
        return startInstance(this.#spec, this.#files, false, (event) => this.#onevent(event))
      })
      this.#rebooted = null
      this.#watch(this.#instance)
      if (!this.#stopWanted) await this.#instance.qmp.execute('cont')
    } catch {
      this.#rebooted = null
      await this.#instance.kill()
      await this.#end('died')
    }
    if (this.#quitting !== null) await this.#instance.kill()
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#exclusive.then(work)
    this.#exclusive = turn.catch(safetyCatch)
    return turn
  }

  #end(reason: VmExit['reason']): Promise<void> {
    this.#ended ??= (async () => {
      await this.#files.close()
      this.#spec.onExit({ reason, message: this.#instance.process.message() })
    })()
    return this.#ended
  }

  #onevent({ event, data }: QmpEvent): void {
    if (event === 'BLOCK_IO_ERROR' && data['action'] === 'stop') {
      this.#ioError = data['nospace'] === true ? 'ENOSPC' : String(data['reason'])
    } else if (event === 'STOP' && this.#ioError !== null) {
      this.#spec.onPause?.(this.#ioError)
    } else if (event === 'SHUTDOWN' && data['guest'] === true) {
      const reset = data['reason'] === 'guest-reset' && this.#restored && this.#hasKernel
      if (reset) this.#rebooted ??= this.#reboot()
      else this.#guestEnded = true
    }
  }

  get #hasKernel(): boolean {
    return this.#spec.machine.kernel !== undefined
  }
}

/** With the real kernel, not the stub. */
function needsKernel({ restore, machine }: LaunchSpec): boolean {
  return !restore || machine.kernel?.pending === true
}

function startInstance(
  spec: LaunchSpec,
  files: RunFiles,
  incoming: boolean,
  onevent: (event: QmpEvent) => void
): Promise<Instance> {
  return Instance.start({
    spec,
    runDirectory: files.directory,
    files: files.machineFiles(!incoming || needsKernel(spec)),
    incoming,
    endOnReset: incoming && spec.machine.kernel !== undefined,
    onevent
  })
}
