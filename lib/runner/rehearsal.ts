/**
 * A rehearsal: resumes a version for a moment, to learn what a resume touches and in which order, and makes a pack of it.
 *
 * Invariants
 * - Nothing comes of it but the pack: the guest's network is cut off inside the VMM, its writes go to overlays that
 *   are destroyed, and no lease is taken.
 * - Nobody waits for it: it ends at once when its caller is gone or gives up.
 */
import { once } from 'node:events'
import { mkdir, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import path from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../base/errors.ts'
import { PACK_CHUNKS_MAX } from '../format/pack.ts'
import type { Recording } from '../policy/pack-order.ts'
import type { Vm, VmmDriver } from '../vmm/driver.ts'
import { TouchTrace } from '../volume/touch-trace.ts'
import { Context } from './context.ts'
import { Exports } from './exports.ts'
import type { Host } from './host.ts'
import { packVersion } from './pack-run.ts'
import type { PackSummary, RehearseParams } from './protocol.ts'
import { VolumeSet } from './volume-set.ts'

/** One page a fault: what is touched, exactly. */
const READ_AHEAD_KB = 4
/** The guest touched nothing new for that long: it has nothing more to do. */
const QUIET_MS = 700
/** However busy it is, it is not waited for longer. */
const QUIET_MS_MAX = 10_000
/** An answer has ended when the console said nothing for that long. */
const ANSWER_MS = 300
/** Typed again when the console said nothing for that long. */
const AGAIN_MS = 1000
const CLOCK_MS_MAX = 10_000
/** Typed one after the other: a shell answers the first with its prompt, and runs something for the second. */
const TYPED = ['\r', 'echo\r']
const POLL_MS = 20

export async function rehearse(
  host: Host,
  driver: VmmDriver,
  { open, machine }: RehearseParams,
  attachment: Buffer,
  signal: AbortSignal
): Promise<PackSummary> {
  const mismatch = await driver.mismatch(machine)
  if (mismatch !== null) {
    throw new HyperparcelError('VMM_MISMATCH', `It cannot be rehearsed on this device: ${mismatch}`)
  }
  await mkdir(open.stateDirectory, { recursive: true, mode: 0o700 })
  const context = await Context.open(open, attachment, host)
  signal.addEventListener('abort', () => context.source.giveUp(signal.reason as Error))
  try {
    const trace = new TouchTrace(PACK_CHUNKS_MAX)
    context.trace = trace
    const recording = await new Rehearsal(context, driver, machine, trace, signal).run()
    signal.throwIfAborted()
    return await packVersion(context, [recording])
  } finally {
    await context.close()
    await rm(open.stateDirectory, { recursive: true, force: true })
  }
}

class Rehearsal {
  readonly #context: Context
  readonly #driver: VmmDriver
  readonly #machine: RehearseParams['machine']
  readonly #trace: TouchTrace
  readonly #gone = new AbortController()
  readonly #signal: AbortSignal

  constructor(
    context: Context,
    driver: VmmDriver,
    machine: RehearseParams['machine'],
    trace: TouchTrace,
    signal: AbortSignal
  ) {
    this.#context = context
    this.#driver = driver
    this.#machine = machine
    this.#trace = trace
    this.#signal = AbortSignal.any([signal, this.#gone.signal])
  }

  async run(): Promise<Recording> {
    const volumes = new VolumeSet(this.#context, () => {}, { throwaway: true })
    const exports = new Exports(this.#context.params.runDirectory)
    let vm: Vm | null = null
    try {
      await this.#open(volumes, exports)
      this.#signal.throwIfAborted()
      const { runDirectory } = this.#context.params
      const serial = path.join(runDirectory, 'serial.sock')
      const vmDirectory = path.join(runDirectory, 'vm')
      await mkdir(vmDirectory, { recursive: true, mode: 0o700 })
      vm = await this.#driver.launch({
        machine: this.#machine,
        restore: true,
        nbdSockets: exports.sockets(),
        runDirectory: vmDirectory,
        serialSocket: serial,
        vncSocket: path.join(runDirectory, 'vnc.sock'),
        isolated: true,
        readAheadKb: READ_AHEAD_KB,
        onExit: () => this.#gone.abort(ended())
      })
      this.#trace.readAround = !vm.readAheadSet
      await vm.restoreState(Readable.from(this.#context.version!.state()))
      this.#signal.throwIfAborted()
      await vm.cont()
      return await this.#watch(vm, serial)
    } finally {
      await vm?.quit().catch(safetyCatch)
      await exports.close()
      await volumes.destroy().catch(safetyCatch)
    }
  }

  async #open(volumes: VolumeSet, exports: Exports): Promise<void> {
    for (const { name, sizeBytes, readOnly } of this.#context.version!.record.volumes) {
      const plan = { name, sizeBytes, readOnly, fresh: false, memory: name === 'memory' }
      await volumes.open(plan, false)
      await exports.add(name, volumes.get(name))
    }
  }

  /** Waits, types, and watches on. */
  async #watch(vm: Vm, serial: string): Promise<Recording> {
    const console = await Console.open(serial)
    try {
      // At once, as whoever resumes does: what the guest touches before it is asked counts as needed for an answer.
      for (const keys of TYPED) await this.#type(console, keys)
      const answered = this.#trace.size
      await vm.pressKey()
      await this.#quiet()
      await Promise.race([vm.setClock().catch(safetyCatch), this.#sleep(CLOCK_MS_MAX)])
      this.#trace.end()
      return { touched: this.#trace.names(), answered, guessed: this.#trace.guesses() }
    } finally {
      console.close()
    }
  }

  async #type(console: Console, keys: string): Promise<void> {
    const before = console.bytes
    console.lastMs = performance.now()
    console.type(keys)
    const end = performance.now() + QUIET_MS_MAX
    let again = performance.now() + AGAIN_MS
    while (performance.now() < end) {
      if (console.bytes === before && performance.now() > again) {
        console.type(keys) // the first bytes after a resume may get lost
        again += AGAIN_MS
      }
      const silentMs = performance.now() - console.lastMs
      if (console.bytes > before && silentMs > ANSWER_MS) return
      if (console.bytes === before && this.#quietMs > 2 * QUIET_MS && silentMs > 2 * QUIET_MS)
        return
      await this.#sleep(POLL_MS)
    }
  }

  async #quiet(): Promise<void> {
    const end = performance.now() + QUIET_MS_MAX
    await this.#sleep(QUIET_MS)
    while (this.#quietMs < QUIET_MS && performance.now() < end) await this.#sleep(POLL_MS)
  }

  get #quietMs(): number {
    return performance.now() - this.#trace.lastMs
  }

  async #sleep(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#signal }).catch(() => {
      throw this.#signal.reason
    })
  }
}

/** The guest's serial console, of which only the rhythm counts. */
class Console {
  bytes = 0
  lastMs = performance.now()
  readonly #socket: Socket

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (data: Buffer) => {
      this.bytes += data.byteLength
      this.lastMs = performance.now()
    })
    socket.on('error', () => {}) // the VM is gone, which is told elsewhere
  }

  static async open(file: string): Promise<Console> {
    const socket = connect(file)
    const console = new Console(socket)
    await once(socket, 'connect')
    return console
  }

  type(keys: string): void {
    this.#socket.write(keys)
  }

  close(): void {
    this.#socket.destroy()
  }
}

function ended(): HyperparcelError {
  return new HyperparcelError('VMM_FAILED', 'The rehearsed VM ended by itself')
}
