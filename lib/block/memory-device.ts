import type { BlockDevice, BlockExtent } from './device.ts'

const PAGE_BYTES = 1024 * 1024

/**
 * A sparse device in memory, in pages of 1 MiB: for tests, benches and scratch exports. Never waits, never fails.
 * Nothing is durable.
 */
export class MemoryDevice implements BlockDevice {
  readonly size: number
  readonly readOnly: boolean
  readonly #pages: (Buffer | undefined)[]

  /** `sizeBytes` of any length; `readOnly` is only told to clients, `pwrite` still works. */
  constructor(sizeBytes: number, opts: { readOnly?: boolean } = {}) {
    this.size = sizeBytes
    this.readOnly = opts.readOnly ?? false
    this.#pages = new Array<Buffer | undefined>(Math.ceil(sizeBytes / PAGE_BYTES)).fill(undefined)
  }

  /** Bytes of memory in use. */
  get allocatedBytes(): number {
    return this.#pages.filter((page) => page !== undefined).length * PAGE_BYTES
  }

  pread(target: Buffer, offset: number): void {
    const length = target.byteLength
    for (let done = 0; done < length;) {
      const start = (offset + done) % PAGE_BYTES
      const taken = Math.min(PAGE_BYTES - start, length - done)
      const page = this.#pages[Math.floor((offset + done) / PAGE_BYTES)]
      if (page === undefined) target.fill(0, done, done + taken)
      else page.copy(target, done, start, start + taken)
      done += taken
    }
  }

  pwrite(source: Buffer, offset: number, _fua: boolean): void {
    const length = source.byteLength
    for (let done = 0; done < length;) {
      const start = (offset + done) % PAGE_BYTES
      const taken = Math.min(PAGE_BYTES - start, length - done)
      const page = this.#allocate(Math.floor((offset + done) / PAGE_BYTES))
      source.copy(page, start, done, done + taken)
      done += taken
    }
  }

  flush(): void {}

  trim(offset: number, length: number, fua: boolean): void {
    this.writeZeroes(offset, length, true, fua)
  }

  writeZeroes(offset: number, length: number, mayTrim: boolean, _fua: boolean): void {
    for (let done = 0; done < length;) {
      const start = (offset + done) % PAGE_BYTES
      const taken = Math.min(PAGE_BYTES - start, length - done)
      const index = Math.floor((offset + done) / PAGE_BYTES)
      const wholePage = taken === PAGE_BYTES || offset + done + taken === this.size
      if (mayTrim && start === 0 && wholePage) this.#pages[index] = undefined
      else if (mayTrim) this.#pages[index]?.fill(0, start, start + taken)
      else this.#allocate(index).fill(0, start, start + taken)
      done += taken
    }
  }

  blockStatus(offset: number, length: number, max: number): BlockExtent[] {
    const extents: BlockExtent[] = []
    let last: BlockExtent | undefined
    for (let done = 0; done < length;) {
      const position = offset + done
      const taken = Math.min(PAGE_BYTES - (position % PAGE_BYTES), length - done)
      const hole = this.#pages[Math.floor(position / PAGE_BYTES)] === undefined
      if (last?.hole === hole) last.length += taken
      else if (extents.length === max) break
      else extents.push((last = { length: taken, hole }))
      done += taken
    }
    return extents
  }

  close(): Promise<void> {
    this.#pages.fill(undefined)
    return Promise.resolve()
  }

  #allocate(index: number): Buffer {
    return (this.#pages[index] ??= Buffer.alloc(PAGE_BYTES))
  }
}
