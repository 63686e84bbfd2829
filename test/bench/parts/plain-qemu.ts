/** The same guest under QEMU alone: a raw file for a disk, ordinary memory, and its own save. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectUnix } from '../../../lib/ipc/endpoint.ts'
import { Qmp } from '../../../lib/vmm/qemu/qmp.ts'
import type { Guest } from '../../../examples/guest/build.ts'
import { SerialConsole } from '../../../examples/guest/serial-console.ts'
import { timed } from './command.ts'

const START_POLL_MS = 20
const START_MS = 20_000
const SAVE_POLL_MS = 5
const UNLIMITED_BYTES_PER_SECOND = 2 ** 40

export class PlainQemu {
  readonly console: SerialConsole
  readonly #process: ChildProcess
  readonly #qmp: Qmp

  private constructor(child: ChildProcess, qmp: Qmp, serial: string) {
    this.#process = child
    this.#qmp = qmp
    this.console = new SerialConsole(serial)
  }

  /** `directory` gets a copy of the disk and the sockets. */
  static async start(directory: string, guest: Guest, memoryMib: number): Promise<PlainQemu> {
    const disk = path.join(directory, 'plain.raw')
    await timed(['cp', '--sparse=always', guest.disk, disk])
    const [serial, monitor] = ['plain.serial', 'plain.qmp'].map((n) => path.join(directory, n))
    const args = [
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-machine', 'q35'],
      ...['-accel', 'tcg,thread=multi,tb-size=256', '-cpu', 'max', '-m', `${memoryMib}M`],
      ...['-kernel', guest.kernel, '-initrd', guest.initrd, '-append', guest.append],
      ...['-drive', `file=${disk},format=raw,if=virtio,discard=unmap`, '-netdev', 'user,id=net0'],
      ...['-device', 'virtio-net-pci,netdev=net0,romfile=', '-device', 'VGA,vgamem_mb=8'],
      ...['-device', 'virtio-balloon-pci,free-page-reporting=on', '-device', 'virtio-rng-pci'],
      ...['-chardev', `socket,id=serial,path=${serial},server=on,wait=off`],
      ...['-serial', 'chardev:serial', '-qmp', `unix:${monitor},server=on,wait=off`]
    ]
    const child = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'ignore', 'inherit'] })
    try {
      const qmp = new Qmp(await connected(monitor), () => {})
      await qmp.ready()
      await qmp.execute('migrate-set-parameters', { 'max-bandwidth': UNLIMITED_BYTES_PER_SECOND })
      return new PlainQemu(child, qmp, serial)
    } catch (err) {
      child.kill('SIGKILL')
      throw err
    }
  }

  /** Stops the CPUs and saves everything, durable on return, in seconds. `go` lets them run again. */
  async save(file: string): Promise<number> {
    const began = performance.now()
    await this.#qmp.execute('stop')
    await this.#qmp.execute('migrate', { uri: `exec:zstd -1 -q -c > '${file}'` })
    for (;;) {
      const { status } = await this.#qmp.execute<{ status: string }>('query-migrate')
      if (status === 'completed') break
      if (status === 'failed') throw new Error('QEMU could not save the guest')
      await sleep(SAVE_POLL_MS)
    }
    await timed(['sync', file])
    return (performance.now() - began) / 1000
  }

  async stop(): Promise<void> {
    await this.#qmp.execute('stop')
  }

  async go(): Promise<void> {
    await this.#qmp.execute('cont')
  }

  async end(): Promise<void> {
    this.console.close()
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const exited = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    await exited
  }
}

async function connected(socket: string) {
  const deadline = performance.now() + START_MS
  for (;;) {
    const connection = await connectUnix(socket).catch(() => null)
    if (connection !== null) return connection
    if (performance.now() > deadline) throw new Error('QEMU did not start')
    await sleep(START_POLL_MS)
  }
}
