/** One QEMU process in its sandbox, from its start until it answers on QMP. */
import { HyperparcelError } from '../../base/errors.ts'
import type { LaunchSpec } from '../driver.ts'
import { DESCRIPTOR, qemuArguments, type MachineFiles } from './arguments.ts'
import { DeviceState } from './device-state.ts'
import { GuardedProcess } from './guarded-process.ts'
import { GuestAgent } from './guest-agent.ts'
import { QEMU } from './host.ts'
import { Qmp, type QmpEvent } from './qmp.ts'
import { BWRAP, sandboxArguments } from './sandbox.ts'
import { noHugePagesFilter } from './seccomp.ts'

const CHANNELS = 4
const KILL_TIMEOUT_MS = 5000

export interface InstanceOptions {
  spec: LaunchSpec
  /** Without symbolic links. */
  runDirectory: string
  files: MachineFiles
  /** Wait for a saved state. */
  incoming: boolean
  /** A guest that resets itself ends this process. */
  endOnReset: boolean
  onevent(event: QmpEvent): void
}

export class Instance {
  readonly process: GuardedProcess
  readonly qmp: Qmp
  readonly agent: GuestAgent
  readonly state: DeviceState
  #pid = -1

  private constructor(options: InstanceOptions) {
    const { spec, files, runDirectory } = options
    const sandbox = sandboxArguments({
      runDirectory,
      sockets: spec.machine.disks
        .map((disk) => files.nbdSockets[disk.volume])
        .concat(
          spec.machine.isoVolume === undefined ? [] : files.nbdSockets[spec.machine.isoVolume]
        ),
      kvm: spec.machine.accelerator === 'kvm'
    })
    const args = qemuArguments(spec.machine, files, options.incoming, spec.isolated)
    if (options.endOnReset) args.push('-no-reboot')
    this.process = new GuardedProcess(BWRAP, [...sandbox, QEMU, ...args], CHANNELS)
    this.qmp = new Qmp(this.process.channel(DESCRIPTOR.QMP), (event) => {
      this.state.onevent(event)
      options.onevent(event)
    })
    this.agent = new GuestAgent(this.process.channel(DESCRIPTOR.AGENT))
    this.state = new DeviceState(this.qmp, runDirectory)
    const filter = this.process.channel(DESCRIPTOR.SECCOMP)
    filter.on('error', () => {}) // bwrap did not start: told by its exit
    filter.end(noHugePagesFilter())
    this.#readPid()
  }

  /** Of QEMU itself, as this process sees it. */
  get pid(): number {
    return this.#pid
  }

  /** Rejects with `VMM_MISSING`, `SANDBOX_UNAVAILABLE` or `VMM_FAILED`. */
  static async start(options: InstanceOptions): Promise<Instance> {
    const instance = new Instance(options)
    try {
      if (!(await instance.qmp.ready())) {
        await instance.process.waitExit(KILL_TIMEOUT_MS)
        throw startError(instance.process)
      }
      await instance.state.prepare()
      return instance
    } catch (err) {
      await instance.kill()
      throw err
    }
  }

  /** SIGKILL to QEMU; the sandbox's outer process ends when nothing is left in it. */
  async kill(): Promise<boolean> {
    if (this.#pid > 1 && this.process.exit === null) {
      try {
        process.kill(this.#pid, 'SIGKILL')
        if (await this.process.waitExit(KILL_TIMEOUT_MS)) return true
      } catch {
        // it is gone already, or about to be
      }
    }
    return this.process.kill(KILL_TIMEOUT_MS)
  }

  /** bwrap writes one JSON object. */
  #readPid(): void {
    let text = ''
    const info = this.process.channel(DESCRIPTOR.INFO)
    info.on('error', () => {})
    info.on('data', (data: Buffer) => {
      text += data.toString('latin1')
      const pid = /"child-pid"\s*:\s*(\d+)/.exec(text)?.[1]
      if (pid !== undefined) this.#pid = Number(pid)
    })
  }
}

function startError(process: GuardedProcess): HyperparcelError {
  const said = process.message()
  if (/bwrap: not found|exec: bwrap/.test(said)) {
    return new HyperparcelError('SANDBOX_UNAVAILABLE', 'bubblewrap is not installed', {
      hint: 'Install it: apt-get install bubblewrap'
    })
  }
  if (/execvp \S*qemu-system/.test(said)) {
    return new HyperparcelError('VMM_MISSING', 'QEMU is not installed', {
      hint: 'Install it: apt-get install qemu-system-x86'
    })
  }
  if (/^bwrap:/m.test(said)) {
    return new HyperparcelError('SANDBOX_UNAVAILABLE', `The VM's sandbox cannot be made: ${said}`, {
      hint: 'Ordinary users need user namespaces: see sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns.'
    })
  }
  return new HyperparcelError('VMM_FAILED', `QEMU did not start: ${said || 'it said nothing'}`, {
    hint: 'hyperparcel doctor checks QEMU, KVM and FUSE.'
  })
}
