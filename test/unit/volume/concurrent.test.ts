/**
 * Writers, readers and commits at the same time, on a file whose writes become visible in two halves: a read must
 * return some content that the chunk had between its start and its end, a frozen generation what was there at the
 * freeze.
 */
import test from 'brittle'
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'
import { Overlay } from '../../../lib/volume/overlay.ts'
import { ReadEpochs } from '../../../lib/volume/read-epochs.ts'
import { Volume } from '../../../lib/volume/volume.ts'
import { FaultyFile } from '../../helpers/faulty-file.ts'
import { MemoryBase } from '../../helpers/memory-base.ts'
import { Random } from '../../helpers/random.ts'
import { SEAL, chunkOf, numberOf } from './model.ts'

const CHUNKS = 96
const SIZE = CHUNKS * CHUNK_BYTES
const LANES = 6

class TearingFile extends FaultyFile {
  override pwrite(
    buffer: Buffer,
    at: number,
    length: number,
    position: number,
    done: (error: Error | null) => void
  ): void {
    const half = Math.floor(length / 2)
    super.pwrite(buffer, at, half, position, () => {
      super.pwrite(buffer, at + half, length - half, position + half, done)
    })
  }
}

/** What a chunk was told to be, in order; 0 is zeros. */
interface History {
  numbers: number[]
  /** Index of the newest one that finished. */
  finished: number
}

class Check {
  readonly volume: Volume
  readonly rnd: Random
  readonly histories: History[]
  wrong: string | null = null
  stop = false
  #number = 1000

  constructor(volume: Volume, rnd: Random, start: number[]) {
    this.volume = volume
    this.rnd = rnd
    this.histories = start.map((number) => ({ numbers: [number], finished: 0 }))
  }

  /** Changes chunks of its own lane, one change after the other. */
  async write(lane: number): Promise<void> {
    const own = CHUNKS / LANES
    while (!this.stop) {
      const count = this.rnd.int(1, 5)
      const first = lane * own + this.rnd.int(0, own - count)
      const trim = this.rnd.chance(0.2)
      const numbers = Array.from({ length: count }, () => (trim ? 0 : this.#number++))
      for (let i = 0; i < count; i++) this.histories[first + i].numbers.push(numbers[i])
      if (trim) await this.volume.trim(first * CHUNK_BYTES, count * CHUNK_BYTES, false)
      else {
        const data = Buffer.concat(numbers.map(chunkOf))
        await this.volume.pwrite(data, first * CHUNK_BYTES, this.rnd.chance(0.05))
      }
      for (let i = 0; i < count; i++) {
        const history = this.histories[first + i]
        history.finished = history.numbers.length - 1
      }
      if (this.rnd.chance(0.3)) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  async read(): Promise<void> {
    while (!this.stop) {
      const count = this.rnd.int(1, 12)
      const first = this.rnd.int(0, CHUNKS - count)
      const from = this.histories.slice(first, first + count).map(({ finished }) => finished)
      const target = Buffer.alloc(count * CHUNK_BYTES, 0xee)
      await this.volume.pread(target, first * CHUNK_BYTES)
      for (let i = 0; i < count; i++) {
        const to = this.histories[first + i].numbers.length - 1
        this.#expect('read', first + i, target, i, from[i], to)
      }
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** Freezes, reads what is frozen, and puts the volume on that, or not. */
  async commit(base: number[]): Promise<number[]> {
    const frozen = this.volume.freeze()
    const from = this.histories.map(({ finished }) => finished)
    const to = this.histories.map(({ numbers }) => numbers.length - 1)
    const next = base.slice()
    for (const { first, count } of frozen.runs()) {
      const target = Buffer.alloc(count * CHUNK_BYTES, 0xee)
      await frozen.read(first, count, target)
      for (let i = 0; i < count; i++) {
        next[first + i] = this.#expect(
          'frozen',
          first + i,
          target,
          i,
          from[first + i],
          to[first + i]
        )
      }
    }
    if (this.rnd.chance(0.3)) {
      frozen.abandon()
      return base
    }
    await frozen.release(new MemoryBase(Buffer.concat(next.map(chunkOf))), 'next')
    return next
  }

  #expect(what: string, chunk: number, data: Buffer, index: number, from: number, to: number) {
    const number = numberOf(data.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES))
    const allowed = this.histories[chunk].numbers.slice(from, to + 1)
    if (!allowed.includes(number)) {
      this.wrong ??= `${what} chunk ${chunk}: ${number}, not one of ${allowed.join()}`
      this.stop = true
    }
    return number
  }
}

for (const durable of [true, false]) {
  const what = durable ? 'a disk' : 'guest RAM'
  test(`volume: ${what} under writers, readers and commits at once`, async (t) => {
    t.timeout(120_000)
    const rnd = new Random()
    t.comment(`SEED=${rnd.seed}`)
    const file = new TearingFile()
    const overlay = await Overlay.create('x', {
      volume: 0,
      name: 'disk0',
      sizeBytes: SIZE,
      baseId: '',
      ...SEAL,
      openFile: file.open,
      durable,
      ...(durable ? {} : { reserveBytes: SIZE })
    })
    let base = Array.from({ length: CHUNKS }, (_, i) => (i % 4 === 0 ? 0 : i))
    const volume = new Volume(new MemoryBase(Buffer.concat(base.map(chunkOf))), overlay)
    const check = new Check(volume, rnd, base)
    let lanes = Array.from({ length: LANES }, (_, lane) => check.write(lane))
    const readers = [check.read(), check.read()]
    for (let round = 0; round < 40 && !check.stop; round++) {
      for (let i = rnd.int(0, 30); i > 0; i--) await new Promise((next) => setImmediate(next))
      // Guest RAM is written in place where nobody reads.
      if (round === 20) {
        check.stop = true
        await Promise.all([...lanes, ...readers])
        check.stop = false
        lanes = lanes.map((_, lane) => check.write(lane))
        readers.length = 0
      }
      base = await check.commit(base)
    }
    check.stop = true
    await Promise.all([...lanes, ...readers])
    t.is(check.wrong, null)
    const all = Buffer.alloc(SIZE)
    await volume.pread(all, 0)
    for (let chunk = 0; chunk < CHUNKS; chunk++) {
      const number = numberOf(all.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES))
      const expected = check.histories[chunk].numbers.at(-1)
      if (number !== expected) return t.fail(`chunk ${chunk} ends as ${number}, not ${expected}`)
    }
    await volume.close()
  })
}

test('volume: changes of one chunk in one batch leave one of them, and no slot twice', async (t) => {
  const rnd = new Random()
  t.comment(`SEED=${rnd.seed}`)
  const file = new TearingFile()
  const overlay = await Overlay.create('x', {
    volume: 0,
    name: 'memory',
    sizeBytes: SIZE,
    baseId: '',
    ...SEAL,
    openFile: file.open,
    durable: false,
    reserveBytes: SIZE
  })
  const start = Array.from({ length: CHUNKS }, (_, i) => i + 1)
  const volume = new Volume(new MemoryBase(Buffer.concat(start.map(chunkOf))), overlay)
  const now = start.slice()
  let number = 1000
  for (let round = 0; round < 300; round++) {
    const allowed: Set<number>[] = now.map((n) => new Set([n]))
    const changed = new Set<number>()
    const jobs: (void | Promise<void>)[] = []
    for (let i = rnd.int(1, 8); i > 0; i--) {
      const first = rnd.int(0, 12)
      const count = rnd.int(1, 4)
      const numbers = Array.from({ length: count }, () => number++)
      if (rnd.chance(0.3)) {
        numbers.fill(0)
        jobs.push(volume.trim(first * CHUNK_BYTES, count * CHUNK_BYTES, false))
      } else {
        jobs.push(volume.pwrite(Buffer.concat(numbers.map(chunkOf)), first * CHUNK_BYTES, false))
      }
      numbers.forEach((n, k) => {
        if (!changed.has(first + k)) allowed[first + k].clear()
        changed.add(first + k)
        // A trim may find the chunk zero and do nothing, while a write of the same moment is under way.
        allowed[first + k].add(n)
      })
    }
    for (const job of jobs) await job
    const all = Buffer.alloc(SIZE)
    await volume.pread(all, 0)
    for (let chunk = 0; chunk < CHUNKS; chunk++) {
      now[chunk] = numberOf(all.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES))
      if (!allowed[chunk].has(now[chunk])) {
        return t.fail(`round ${round}: chunk ${chunk} is ${now[chunk]}`)
      }
    }
  }
  t.pass()
})

test('read epochs: what a read may look at is not free before it ends', (t) => {
  const epochs = new ReadEpochs()
  const freed: string[] = []
  epochs.retire(() => freed.push('a'))
  t.alike(freed, ['a'], 'at once when nobody reads')
  const first = epochs.begin()
  epochs.retire(() => freed.push('b'))
  const second = epochs.begin()
  epochs.retire(() => freed.push('c'))
  epochs.end(second)
  t.alike(freed, ['a'], 'the first read is still there')
  const third = epochs.begin()
  epochs.end(first)
  t.alike(freed, ['a', 'b', 'c'], 'the third began later')
  t.is(epochs.active, 1)
  epochs.end(third)
})
