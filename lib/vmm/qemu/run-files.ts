/**
 * The files of one running VM, all in its run directory:
 *
 *   memory           guest RAM: the export `memory` through FUSE
 *   kernel, initrd   for direct kernel boot: exports through FUSE; after a restore `kernel.stub`
 *   serial.sock …    where the guest's console and screen listen; a link leads there when the spec wants them elsewhere
 */
import { lstat, mkdir, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../../base/errors.ts'
import type { LaunchSpec } from '../driver.ts'
import type { MachineFiles } from './arguments.ts'
import { FuseFile } from './fuse-file.ts'
import { kernelStub } from './kernel-stub.ts'
import { checkSocketPath } from './socket-path.ts'

export class RunFiles {
  /** Without symbolic links. */
  readonly directory: string
  readonly memory: FuseFile
  readonly #spec: LaunchSpec
  readonly #sockets: { serialSocket: string; vncSocket: string }
  readonly #boot: FuseFile[] = []
  readonly #made: string[] = []

  private constructor(spec: LaunchSpec, directory: string, readAheadKb: number) {
    this.#spec = spec
    this.directory = directory
    this.memory = this.#fuse('memory', 'memory', readAheadKb)
    this.#sockets = {
      serialSocket: checkSocketPath(path.join(directory, 'serial.sock')),
      vncSocket: checkSocketPath(path.join(directory, 'vnc.sock'))
    }
  }

  /** Mounts guest RAM, and the kernel where `boot` is true. */
  static async open(spec: LaunchSpec, boot: boolean, readAheadKb: number): Promise<RunFiles> {
    await mkdir(spec.runDirectory, { recursive: true, mode: 0o700 })
    const directory = await realpath(spec.runDirectory)
    const files = new RunFiles(spec, directory, readAheadKb)
    try {
      await Promise.all([
        files.memory.ready(),
        files.#link(spec.serialSocket, files.#sockets.serialSocket),
        files.#link(spec.vncSocket, files.#sockets.vncSocket),
        boot ? files.openKernel() : files.#writeStub()
      ])
      if (files.memory.bytes !== spec.machine.memoryBytes) {
        const sizes = `${files.memory.bytes} bytes, not ${spec.machine.memoryBytes}`
        throw new HyperparcelError('VMM_FAILED', `The memory volume has ${sizes}`)
      }
      return files
    } catch (err) {
      await files.close()
      throw err
    }
  }

  /** What QEMU gets; `boot`: with the real kernel. */
  machineFiles(boot: boolean): MachineFiles {
    const { kernel } = this.#spec.machine
    const files: MachineFiles = {
      memory: this.memory.file,
      ...this.#sockets,
      nbdSockets: this.#spec.nbdSockets
    }
    if (kernel === undefined) return files
    if (!boot) return { ...files, kernel: this.#stub }
    const initrd = kernel.initrdVolume === undefined ? undefined : this.#boot[1].file
    return { ...files, kernel: this.#boot[0].file, initrd }
  }

  /** Shows kernel and initrd as files; nothing of them is on a disk. */
  async openKernel(): Promise<void> {
    const { kernel } = this.#spec.machine
    if (kernel === undefined || this.#boot.length > 0) return
    this.#boot.push(this.#fuse('kernel', kernel.kernelVolume, null))
    if (kernel.initrdVolume !== undefined) {
      this.#boot.push(this.#fuse('initrd', kernel.initrdVolume, null))
    }
    await Promise.all(this.#boot.map((file) => file.ready()))
  }

  /** Ends the FUSE bridges; a VMM that still lives gets errors for its pages. Idempotent. */
  async closeMounts(): Promise<void> {
    await Promise.allSettled([this.memory, ...this.#boot].map((file) => file.close()))
  }

  /** After the VMM has ended. Idempotent. */
  async close(): Promise<void> {
    await this.closeMounts()
    const files = [...this.#made, ...Object.values(this.#sockets)]
    await Promise.all(files.map((file) => rm(file, { force: true })))
  }

  get #stub(): string {
    return path.join(this.directory, 'kernel.stub')
  }

  async #writeStub(): Promise<void> {
    if (this.#spec.machine.kernel === undefined) return
    this.#made.push(this.#stub)
    await writeFile(this.#stub, kernelStub(), { mode: 0o600 })
  }

  /** Without `readAheadKb` it is for reading only, and read once from its start to its end. */
  #fuse(name: string, volume: string, readAheadKb: number | null): FuseFile {
    return new FuseFile({
      file: path.join(this.directory, name),
      socket: this.#spec.nbdSockets[volume],
      readOnly: readAheadKb === null,
      readAheadKb: readAheadKb ?? 1024
    })
  }

  async #link(wanted: string, real: string): Promise<void> {
    const parent = await realpath(path.dirname(wanted))
    if (path.join(parent, path.basename(wanted)) === real) return
    const there = await lstat(wanted).catch(() => null)
    if (there !== null && !there.isSocket() && !there.isSymbolicLink()) {
      throw new HyperparcelError('VMM_FAILED', `${wanted} is in the way of a socket`)
    }
    await rm(wanted, { force: true })
    await symlink(real, wanted)
    this.#made.push(wanted)
  }
}
