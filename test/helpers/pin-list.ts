/** A pin list with one of everything. */
import type { PinList } from '../../lib/format/pin-list.ts'
import { keyPair } from '../../lib/fleet/index.ts'

const author = keyPair(Buffer.alloc(32, 1))
const fleet = fill(32, 2)
const parcel = fill(16, 3)
const TIME = Date.UTC(2026, 0, 2, 3, 4, 5, 678)

function fill(count: number, value: number): Buffer {
  return Buffer.alloc(count, value)
}

export function samplePins(): PinList {
  return {
    fleet,
    device: author.publicKey,
    counter: TIME,
    topic: fill(32, 40),
    members: [
      { publicKey: author.publicKey, removed: false },
      { publicKey: fill(32, 41), removed: true }
    ],
    logs: [fill(32, 42), fill(32, 43)],
    entries: [
      {
        version: fill(32, 44),
        parcel,
        time: TIME,
        bytes: 1_000_000,
        annex: { log: 1, block: 7 },
        runs: [
          { log: 0, start: 0, count: 300 },
          { log: 1, start: 70_000, count: 1 }
        ]
      },
      { version: fill(32, 45), parcel, time: TIME - 1, bytes: 0, annex: null, runs: [] }
    ],
    signature: fill(64, 46)
  }
}
