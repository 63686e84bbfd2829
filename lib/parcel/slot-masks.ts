/** Which chunks of segments are needed: 16 bits a block, in pages. A log of ten million segments takes 20 MB. */
import { refLog, refSlot, type MapLeaf } from '../format/map.ts'

const PAGE_BLOCKS = 4096

/** A segment of which some chunks are needed. */
export interface LiveSlots {
  log: Buffer
  block: number
  /** Bit n: slot n. */
  mask: number
}

export class SlotMasks {
  readonly #logs = new Map<string, Map<number, Uint16Array>>()

  /** Adds all that a leaf names. `keyOf` gives the key of a log by its number there. */
  add({ refs, blocks }: MapLeaf, keyOf: (log: number) => Buffer): void {
    let last = -1
    let pages = new Map<number, Uint16Array>()
    for (let i = 0; i < refs.length; i++) {
      if (refs[i] === 0) continue
      const log = refLog(refs[i])
      if (log !== last) pages = this.#of(keyOf(log))
      last = log
      const index = Math.floor(blocks[i] / PAGE_BLOCKS)
      let page = pages.get(index)
      if (page === undefined) pages.set(index, (page = new Uint16Array(PAGE_BLOCKS)))
      page[blocks[i] % PAGE_BLOCKS] |= 1 << refSlot(refs[i])
    }
  }

  /** Segments of a log of which something is needed, in order. */
  *of(log: Buffer): Generator<LiveSlots> {
    const pages = this.#logs.get(log.toString('hex'))
    if (pages === undefined) return
    for (const index of [...pages.keys()].sort((a, b) => a - b)) {
      const page = pages.get(index)!
      for (let i = 0; i < PAGE_BLOCKS; i++) {
        if (page[i] !== 0) yield { log, block: index * PAGE_BLOCKS + i, mask: page[i] }
      }
    }
  }

  #of(log: Buffer): Map<number, Uint16Array> {
    const name = log.toString('hex')
    let pages = this.#logs.get(name)
    if (pages === undefined) this.#logs.set(name, (pages = new Map<number, Uint16Array>()))
    return pages
  }
}

/** How many slots a mask has. */
export function slotCount(mask: number): number {
  let count = 0
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++
  return count
}
