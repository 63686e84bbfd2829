/** Sealed blocks of the logs of one version, from wherever they are. */
export interface BlockReader {
  /** The blocks in the order asked for. Waits without limit for what is missing; the buffers are the caller's. */
  read(logNumber: number, blocks: number[]): Promise<Buffer[]>
}
