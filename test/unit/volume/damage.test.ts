/**
 * Overlay files that were damaged while they were closed: a chunk has its content, or reading it is an error; never
 * older content. One byte takes at most one chunk with it.
 */
import test from 'brittle'
import type { HyperparcelError } from '../../../lib/base/errors.ts'
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'
import {
  OVERLAY_PAIR_BYTES,
  OVERLAY_SLOTS_AT,
  SLOT_BYTES,
  SLOT_HEADER_AGAIN_AT,
  SLOT_KIND,
  SLOT_NONCE_AT,
  slotPosition
} from '../../../lib/format/overlay.ts'
import { Overlay } from '../../../lib/volume/overlay.ts'
import { Volume } from '../../../lib/volume/volume.ts'
import { FaultyFile } from '../../helpers/faulty-file.ts'
import { MemoryBase } from '../../helpers/memory-base.ts'
import { Random } from '../../helpers/random.ts'
import { SEAL, chunkOf } from './model.ts'
import { readNumber, slotsOf } from './slots-of.ts'

const CHUNKS = 48
const SIZE = CHUNKS * CHUNK_BYTES
const FLIPS = Number(process.env['HYPERPARCEL_FLIPS'] ?? 1500)
const base = () => new MemoryBase(Buffer.concat(Array.from({ length: CHUNKS }, () => chunkOf(7))))

interface Sample {
  bytes: Buffer
  /** Right content, by chunk. */
  numbers: number[]
  /** The file as it was at each flush. */
  earlier: Buffer[]
}

/** Random changes with flushes, abandoned commits and reopenings; closed at the end. */
async function sample(rnd: Random): Promise<Sample> {
  const file = new FaultyFile()
  const options = { volume: 3, name: 'disk0', sizeBytes: SIZE, baseId: 'v1', ...SEAL }
  let overlay = await Overlay.create('x', { ...options, openFile: file.open })
  let volume = new Volume(base(), overlay)
  const numbers = new Array<number>(CHUNKS).fill(7)
  const earlier: Buffer[] = []
  for (let step = 1; step <= 150; step++) {
    const first = rnd.int(0, CHUNKS - 1)
    const count = Math.min(CHUNKS - first, rnd.int(1, 4))
    const trim = rnd.chance(0.2)
    const written = Array.from({ length: count }, (_, i) => (trim ? 0 : step * 10 + i))
    const offset = first * CHUNK_BYTES
    if (trim) await volume.trim(offset, count * CHUNK_BYTES, false)
    else await volume.pwrite(Buffer.concat(written.map(chunkOf)), offset, false)
    written.forEach((number, i) => (numbers[first + i] = number))
    if (rnd.chance(0.2)) {
      await volume.flush()
      earlier.push(Buffer.from(file.content))
    }
    if (rnd.chance(0.03)) {
      const frozen = volume.freeze()
      await volume.pwrite(chunkOf(step * 10 + 9), offset, true)
      numbers[first] = step * 10 + 9
      frozen.abandon()
    }
    if (rnd.chance(0.03)) {
      await volume.close()
      overlay = await Overlay.open('x', { ...SEAL, openFile: file.open })
      volume = new Volume(base(), overlay)
    }
  }
  await volume.close()
  return { bytes: Buffer.from(file.content), numbers, earlier }
}

interface Outcome {
  /** The whole file was refused. */
  refused: boolean
  /** Chunks that could not be read. */
  lost: number[]
  wrong: string | null
  volume: Volume | null
  file: FaultyFile
}

async function open(bytes: Buffer, numbers: number[]): Promise<Outcome> {
  const file = new FaultyFile(bytes)
  const outcome: Outcome = { refused: false, lost: [], wrong: null, volume: null, file }
  let overlay: Overlay
  try {
    overlay = await Overlay.open('x', { ...SEAL, openFile: file.open })
  } catch (err) {
    const { code, hint } = err as HyperparcelError
    if (code !== 'DATA_CORRUPT' || hint === undefined) throw err
    outcome.refused = true
    return outcome
  }
  outcome.volume = new Volume(base(), overlay)
  for (let chunk = 0; chunk < CHUNKS; chunk++) {
    const number = await readNumber(outcome.volume, chunk)
    if (number === null) outcome.lost.push(chunk)
    else if (number !== numbers[chunk]) {
      outcome.wrong = `chunk ${chunk} has ${number}, not ${numbers[chunk]}`
    }
  }
  if (overlay.damagedChunks !== outcome.lost.length) {
    outcome.wrong ??= `${overlay.damagedChunks} damaged, ${outcome.lost.length} lost`
  }
  return outcome
}

test('overlay: any byte that flips while it is closed costs at most its chunk', async (t) => {
  t.timeout(60_000)
  const rnd = new Random()
  t.comment(`seed ${rnd.seed}`)
  let lost = 0
  let healed = 0
  let home = await sample(rnd)
  for (let i = 0; i < FLIPS; i++) {
    if (i % 100 === 99) home = await sample(rnd)
    const bytes = Buffer.from(home.bytes)
    const inHeader = rnd.chance(0.1)
    const at = inHeader ? rnd.int(0, OVERLAY_SLOTS_AT - 1) : rnd.int(0, bytes.byteLength - 1)
    bytes[at] ^= 1 << rnd.int(0, 7)
    const outcome = await open(bytes, home.numbers)
    if (outcome.refused) return t.fail(`refused for byte ${at}`)
    if (outcome.wrong !== null) return t.fail(`byte ${at}: ${outcome.wrong}`)
    if (outcome.lost.length > 1) return t.fail(`byte ${at}: lost ${outcome.lost.join()}`)
    if (outcome.lost.length === 0) continue
    lost++
    if (lost % 10 > 0) continue
    const [chunk] = outcome.lost
    const numbers = home.numbers.slice()
    numbers[chunk] = 5
    await outcome.volume!.pwrite(chunkOf(5), chunk * CHUNK_BYTES, true)
    await outcome.volume!.close()
    const again = await open(outcome.file.content, numbers)
    if (again.wrong !== null || again.lost.length > 0) return t.fail(`not healed: ${again.wrong}`)
    healed++
  }
  t.ok(lost > FLIPS / 8, `${lost} chunks lost by ${FLIPS} flips`)
  t.ok(healed > 0, `${healed} healed by writing them again`)
})

test('overlay: every part of a slot in use', async (t) => {
  const rnd = new Random(5)
  const { bytes, numbers } = await sample(rnd)
  const used = slotsOf(bytes).filter(
    ({ slot, kind, chunk, sequence }) =>
      kind === SLOT_KIND.DATA &&
      slotsOf(bytes).every(
        (other) =>
          other.slot === slot ||
          other.chunk > chunk ||
          other.chunk + other.count <= chunk ||
          other.sequence < sequence
      )
  )
  t.ok(used.length > 8, `${used.length} slots`)
  const hit = async (slot: number, ...places: number[]) => {
    const damaged = Buffer.from(bytes)
    for (const place of places) damaged[slotPosition(slot) + place] ^= 64
    const outcome = await open(damaged, numbers)
    if (outcome.wrong !== null) t.fail(outcome.wrong)
    return outcome
  }
  for (const { slot, chunk } of used) {
    for (const place of [SLOT_NONCE_AT, 60, SLOT_HEADER_AGAIN_AT - 1]) {
      const { lost } = await hit(slot, place)
      if (lost.join() !== String(chunk)) t.fail(`byte ${place}: lost ${lost.join()}, not ${chunk}`)
      const both = await hit(slot, place, rnd.pick([0, SLOT_HEADER_AGAIN_AT]))
      if (both.lost.join() !== String(chunk)) t.fail('with one copy of the header')
    }
    for (let at = slot % 6; at < SLOT_NONCE_AT; at += 6) {
      for (const place of [at, SLOT_HEADER_AGAIN_AT + at]) {
        const { lost } = await hit(slot, place)
        if (lost.length > 0) t.fail(`one copy of the header, byte ${place}: lost ${lost.join()}`)
      }
    }
    const { refused } = await hit(slot, 0, SLOT_HEADER_AGAIN_AT)
    if (!refused) t.fail('both copies of a header: not noticed')
  }
  t.pass()
})

test('overlay: parts that are missing, older or elsewhere', async (t) => {
  t.timeout(60_000)
  const rnd = new Random()
  t.comment(`seed ${rnd.seed}`)
  const counts = { whole: 0, lost: 0, refused: 0 }
  for (let round = 0; round < 6; round++) {
    const { bytes, numbers, earlier } = await sample(rnd)
    const slots = Math.floor((bytes.byteLength - OVERLAY_SLOTS_AT) / SLOT_BYTES)
    const damages: [string, () => Buffer][] = [
      ['cut', () => bytes.subarray(0, rnd.int(OVERLAY_SLOTS_AT, bytes.byteLength - 1))],
      ['sector', () => without(bytes, 512, rnd)],
      ['block', () => without(bytes, 4096, rnd)],
      [
        'older slot',
        () => {
          const at = slotPosition(rnd.int(0, slots - 1))
          return put(bytes, at, rnd.pick(earlier).subarray(at, at + SLOT_BYTES))
        }
      ],
      [
        'another slot',
        () => {
          const from = slotPosition(rnd.int(0, slots - 1))
          const at = slotPosition(rnd.int(0, slots - 1))
          return put(bytes, at, bytes.subarray(from, from + SLOT_BYTES))
        }
      ],
      [
        'older header',
        () => {
          const old = rnd.pick(earlier)
          return put(bytes, 0, old.subarray(0, OVERLAY_SLOTS_AT))
        }
      ],
      ['a lost pair of headers', () => put(bytes, 0, Buffer.alloc(OVERLAY_PAIR_BYTES))]
    ]
    for (const [what, damage] of damages) {
      for (let i = 0; i < 12; i++) {
        const outcome = await open(damage(), numbers)
        // An older header with all that it claims is an older file: nothing in the file can tell. Slots can.
        if (outcome.wrong !== null) return t.fail(`${what}: ${outcome.wrong}`)
        if (outcome.refused) counts.refused++
        else if (outcome.lost.length > 0) counts.lost++
        else counts.whole++
      }
    }
  }
  t.ok(counts.whole > 0 && counts.lost > 0 && counts.refused > 0, JSON.stringify(counts))
})

test('overlay: what a power cut tore long ago does not confuse it', async (t) => {
  const rnd = new Random(3)
  const made = new FaultyFile()
  const options = { volume: 3, name: 'disk0', sizeBytes: SIZE, baseId: 'v1', ...SEAL }
  const overlay = await Overlay.create('x', { ...options, openFile: made.open })
  const numbers = new Array<number>(CHUNKS).fill(7)
  const write = async (volume: Volume, chunk: number, number: number) => {
    await volume.pwrite(chunkOf(number), chunk * CHUNK_BYTES, true)
    numbers[chunk] = number
  }
  const volume = new Volume(base(), overlay)
  await write(volume, 1, 11)
  await write(volume, 2, 12)
  // The first half of this is torn, the other one arrives.
  await volume.pwrite(Buffer.concat([chunkOf(21), chunkOf(22)]), CHUNK_BYTES, false)
  numbers[2] = 22
  const torn = Buffer.from(made.content)
  const half = slotsOf(torn).find(({ sequence }) => sequence === 3)!
  torn.fill(0, slotPosition(half.slot) + 512, slotPosition(half.slot) + 1024)
  const cut = await open(torn, numbers)
  t.alike([cut.wrong, cut.lost], [null, []])
  // Three in a row: they do not go where the torn one is.
  const more = Buffer.concat([5, 6, 7].map(chunkOf))
  await cut.volume!.pwrite(more, 5 * CHUNK_BYTES, true)
  numbers.splice(5, 3, 5, 6, 7)
  await cut.volume!.close()
  t.is((await open(cut.file.content, numbers)).wrong, null)
  for (const { slot, chunk, sequence } of slotsOf(cut.file.content)) {
    if (sequence === 2) continue // was replaced
    const bytes = Buffer.from(cut.file.content)
    bytes[slotPosition(slot) + rnd.int(SLOT_NONCE_AT, SLOT_HEADER_AGAIN_AT - 1)] ^= 1
    const { refused, wrong, lost } = await open(bytes, numbers)
    t.alike([refused, wrong, lost], [false, null, [chunk]], `sequence ${sequence}`)
  }
})

function without(bytes: Buffer, length: number, rnd: Random): Buffer {
  const at = rnd.int(0, Math.floor((bytes.byteLength - length) / length)) * length
  return put(bytes, at, rnd.chance(0.5) ? Buffer.alloc(length) : rnd.bytes(length))
}

function put(bytes: Buffer, at: number, part: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  part.copy(copy, at)
  return copy
}
