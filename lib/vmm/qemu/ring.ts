/** The last bytes that a process wrote, in memory only: what a VMM says must not reach a disk. */
const RING_BYTES = 8 * 1024

export class TextRing {
  #text = ''

  push(data: Buffer): void {
    this.#text = (this.#text + data.toString('utf8')).slice(-RING_BYTES)
  }

  /** The last lines, without control characters: QEMU may repeat bytes that a guest chose. */
  last(lines: number): string {
    const clean = this.#text.replace(/[^\P{Cc}\n]/gu, '').trim()
    return clean.split('\n').slice(-lines).join('\n')
  }
}
