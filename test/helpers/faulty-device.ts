/** Faults as decorators around the port `BlockDevice`. */
import { HyperparcelError } from '../../lib/base/errors.ts'
import type { BlockDevice, BlockExtent } from '../../lib/block/device.ts'

export type DeviceOperation = 'pread' | 'pwrite' | 'flush' | 'trim' | 'writeZeroes' | 'blockStatus'

/** Passes everything on; a base for the others. */
export class DeviceDecorator implements BlockDevice {
  readonly inner: BlockDevice
  constructor(inner: BlockDevice) {
    this.inner = inner
  }

  get size(): number {
    return this.inner.size
  }

  get readOnly(): boolean {
    return this.inner.readOnly
  }

  /** Runs before each operation: throws, waits, or returns at once. */
  protected before(
    _operation: DeviceOperation,
    _offset: number,
    _length: number
  ): void | Promise<void> {}

  pread(target: Buffer, offset: number): void | Promise<void> {
    return this.#run('pread', offset, target.byteLength, () => this.inner.pread(target, offset))
  }

  pwrite(source: Buffer, offset: number, fua: boolean): void | Promise<void> {
    const run = () => this.inner.pwrite(source, offset, fua)
    return this.#run('pwrite', offset, source.byteLength, run)
  }

  flush(): void | Promise<void> {
    return this.#run('flush', 0, 0, () => this.inner.flush())
  }

  trim(offset: number, length: number, fua: boolean): void | Promise<void> {
    return this.#run('trim', offset, length, () => this.inner.trim(offset, length, fua))
  }

  writeZeroes(
    offset: number,
    length: number,
    mayTrim: boolean,
    fua: boolean
  ): void | Promise<void> {
    const run = () => this.inner.writeZeroes(offset, length, mayTrim, fua)
    return this.#run('writeZeroes', offset, length, run)
  }

  blockStatus(offset: number, length: number, max: number): BlockExtent[] | Promise<BlockExtent[]> {
    const run = () => this.inner.blockStatus(offset, length, max)
    return this.#run('blockStatus', offset, length, run)
  }

  close(): Promise<void> {
    return this.inner.close()
  }

  #run<T>(
    operation: DeviceOperation,
    offset: number,
    length: number,
    run: () => T | Promise<T>
  ): T | Promise<T> {
    const waited = this.before(operation, offset, length)
    return waited === undefined ? run() : waited.then(run)
  }
}

/** Answers everything late, in an order of its own: `delay` says how late, in milliseconds. */
export class SlowDevice extends DeviceDecorator {
  readonly #delayMs: () => number
  constructor(inner: BlockDevice, delayMs: () => number) {
    super(inner)
    this.#delayMs = delayMs
  }

  protected override before(): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, this.#delayMs()))
  }
}

/** Holds operations back until `release()`: the peer with the data is away. */
export class WaitingDevice extends DeviceDecorator {
  held = 0
  readonly #operations: DeviceOperation[]
  #open!: () => void
  #gate: Promise<void> = new Promise((resolve) => (this.#open = resolve))

  constructor(inner: BlockDevice, operations: DeviceOperation[] = ['pread']) {
    super(inner)
    this.#operations = operations
  }

  release(): void {
    this.#open()
  }

  protected override before(operation: DeviceOperation): void | Promise<void> {
    if (!this.#operations.includes(operation)) return
    this.held++
    return this.#gate.then(() => {
      this.held--
    })
  }
}

/** Fails every operation for which `fault` names a code; at once or after a turn of the event loop. */
export class FailingDevice extends DeviceDecorator {
  readonly #fault: (operation: DeviceOperation, offset: number, length: number) => string | null
  readonly #late: boolean

  constructor(
    inner: BlockDevice,
    fault: (operation: DeviceOperation, offset: number, length: number) => string | null,
    opts: { late?: boolean } = {}
  ) {
    super(inner)
    this.#fault = fault
    this.#late = opts.late ?? false
  }

  protected override before(
    operation: DeviceOperation,
    offset: number,
    length: number
  ): void | Promise<void> {
    const code = this.#fault(operation, offset, length)
    if (code === null) return
    const err = new HyperparcelError(code, `${operation} at ${offset} fails as the test wants`)
    if (!this.#late) throw err
    return new Promise((_resolve, reject) => setImmediate(() => reject(err)))
  }
}
