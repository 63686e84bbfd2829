/** Sealed blocks of the logs of one version, from wherever they are. */
export interface BlockReader {
  /**
   * The blocks in the order asked for. Waits without limit for what is missing; the buffers are the caller's.
   * Calls `onmissing` once when peers have to be waited for, where it can tell.
   */
  read(logNumber: number, blocks: number[], onmissing?: () => void): Promise<Buffer[]>
  /** Which of them are stored here, where it can tell. */
  stored?(logNumber: number, blocks: number[]): Promise<boolean[]>
}
