/**
 * The port between the NBD server and whatever stores the bytes. It knows no parcels.
 *
 * Every method that moves data returns `void` when it finished at once (the hot path: no promise for data
 * that is in memory) or a promise otherwise. A caller keeps the buffer alive and untouched until then;
 * the device keeps no reference to it afterwards.
 *
 * Offsets and lengths are bytes, already checked against `size` by the caller, of any alignment.
 * Reads that cannot be served yet wait without limit; data proven corrupt rejects with code `DATA_CORRUPT`;
 * no space rejects with `DISK_FULL`. Neither is ever answered with zeros.
 *
 * Concurrency: calls may overlap. A write that finished is seen by every later read. A flush covers all
 * writes that finished before it was called.
 */
export interface BlockDevice {
  /** Bytes. */
  readonly size: number
  readonly readOnly: boolean

  /** Fills `target` with the bytes from `offset` on. */
  pread(target: Buffer, offset: number): void | Promise<void>
  /** Stores `source`; with `fua` it is durable on return. */
  pwrite(source: Buffer, offset: number, fua: boolean): void | Promise<void>
  /** Makes finished writes durable. */
  flush(): void | Promise<void>
  /** The range may be forgotten; it reads as zeros afterwards. */
  trim(offset: number, length: number, fua: boolean): void | Promise<void>
  /** The range reads as zeros afterwards. With `mayTrim` false the space stays reserved, where the device can. */
  writeZeroes(offset: number, length: number, mayTrim: boolean, fua: boolean): void | Promise<void>
  /** Runs of data and holes that cover exactly the range, in order, at most `max` of them (then a shorter range). */
  blockStatus(offset: number, length: number, max: number): BlockExtent[] | Promise<BlockExtent[]>
  close(): Promise<void>
}

export interface BlockExtent {
  /** Bytes. */
  length: number
  /** True where the range is unallocated and reads as zeros. */
  hole: boolean
}
