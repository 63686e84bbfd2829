/**
 * Random changes against a model, with the power cut at hundreds of moments: what was flushed must be there, a
 * chunk is never a mixture, and the base named in the header is one that fits what the overlay holds.
 */
import test from 'brittle'
import type { HyperparcelError } from '../../../lib/base/errors.ts'
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'
import { SLOT_BYTES, slotPosition } from '../../../lib/format/overlay.ts'
import { readOverlayHeader } from '../../../lib/volume/overlay-header.ts'
import { Overlay } from '../../../lib/volume/overlay.ts'
import { Volume, type Frozen } from '../../../lib/volume/volume.ts'
import { FaultyFile } from '../../helpers/faulty-file.ts'
import { Random } from '../../helpers/random.ts'
import { MemoryBase } from '../../helpers/memory-base.ts'
import { SEAL, VolumeModel, chunkOf, numberOf } from './model.ts'
import { readNumber, slotsOf } from './slots-of.ts'

const CHUNKS = 24
const SIZE = CHUNKS * CHUNK_BYTES
const SEEDS = Number(process.env['HYPERPARCEL_SEEDS'] ?? 12)
const FIRST_SEED = Number(process.env['HYPERPARCEL_SEED'] ?? 1)

/** What the world outside of the overlay file remembers: versions by their id. */
type Versions = Map<string, number[]>

interface World {
  rnd: Random
  file: FaultyFile
  volume: Volume
  model: VolumeModel
  versions: Versions
  number: number
}

const tally = { damaged: 0, lost: 0, refused: 0 }

const baseOf = (numbers: number[]) => new MemoryBase(Buffer.concat(numbers.map(chunkOf)))

async function contentOf(volume: Volume): Promise<number[]> {
  const all = Buffer.alloc(SIZE)
  await volume.pread(all, 0)
  return Array.from({ length: CHUNKS }, (_, i) =>
    numberOf(all.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES))
  )
}

function change(world: World): Promise<void> {
  const { rnd, volume, model } = world
  const first = Math.floor(rnd.next() * CHUNKS)
  const count = Math.min(CHUNKS - first, 1 + Math.floor(rnd.next() * 6))
  const trim = rnd.next() < 0.25
  // A zero is marked with a number of its own too, so that the model can tell when it was written.
  const numbers = Array.from({ length: count }, () => (trim ? 0 : ++world.number))
  numbers.forEach((number, i) => model.begin(first + i, number))
  const fua = rnd.next() < 0.1
  const offset = first * CHUNK_BYTES
  const done = trim
    ? volume.trim(offset, count * CHUNK_BYTES, fua)
    : volume.pwrite(Buffer.concat(numbers.map(chunkOf)), offset, fua)
  return Promise.resolve(done).then(() => {
    numbers.forEach((number, i) => model.end(first + i, number))
    if (fua) numbers.forEach((number, i) => (model.possible[first + i] = new Set([number])))
  })
}

async function flush(world: World): Promise<void> {
  const flushed = world.model.flush()
  await world.volume.flush()
  flushed()
}

/** A version of everything that was frozen, as a commit would make it. */
async function commit(world: World, frozen: Frozen, before: number[]): Promise<void> {
  const { rnd, versions, volume } = world
  const numbers = before.slice()
  for (const { first, count, zero } of frozen.runs()) {
    const data = Buffer.alloc(count * CHUNK_BYTES)
    await frozen.read(first, count, data)
    for (let i = 0; i < count; i++) {
      const number = numberOf(data.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES))
      if (zero && number !== 0) throw new Error('a zero run has data')
      numbers[first + i] = number
    }
  }
  if (rnd.next() < 0.3) return frozen.abandon()
  const id = `v${versions.size + 1}`
  if (rnd.next() < 0.7) await frozen.markCommit(id)
  if (rnd.next() < 0.2) return frozen.abandon()
  versions.set(id, numbers)
  await frozen.release(baseOf(numbers), id)
  if (volume.overlay!.baseId !== id) throw new Error('the base has another name')
}

/** Opens what is left of the file and says what is wrong with it, or the content. */
async function recover(
  left: Buffer | FaultyFile,
  versions: Versions,
  possible: Set<number>[]
): Promise<{ wrong: string | null; file: FaultyFile; volume: Volume; content: number[] }> {
  // As of the cut: what is under way goes on meanwhile.
  const allowed = possible.map((numbers) => new Set(numbers))
  const existing = new Set(versions.keys())
  const file = left instanceof FaultyFile ? left : new FaultyFile(left)
  const overlay = await Overlay.open('x', {
    ...SEAL,
    openFile: file.open,
    committed: (id) => existing.has(id)
  })
  const volume = new Volume(baseOf(versions.get(overlay.baseId)!), overlay)
  const content = await contentOf(volume)
  const at = content.findIndex((number, chunk) => !allowed[chunk].has(number))
  const wrong =
    at < 0 ? null : `chunk ${at} has ${content[at]}, possible are ${[...allowed[at]].join()}`
  return { wrong, file, volume, content }
}

async function run(seed: number, steps: number): Promise<string | null> {
  const rnd = new Random(seed)
  const versions: Versions = new Map()
  const start = Array.from({ length: CHUNKS }, (_, i) => (i % 3 === 0 ? 0 : i + 1))
  versions.set('v1', start)
  const file = new FaultyFile()
  const options = { volume: 1, name: 'disk0', sizeBytes: SIZE, baseId: 'v1', ...SEAL }
  const overlay = await Overlay.create('x', { ...options, openFile: file.open })
  const world: World = {
    rnd,
    file,
    volume: new Volume(baseOf(start), overlay),
    model: new VolumeModel(start),
    versions,
    number: 1000
  }
  let frozen: { generation: Frozen; before: number[] } | null = null
  let committing: Promise<void> | null = null

  for (let step = 0; step < steps; step++) {
    // Overlapping changes of one chunk have no order, so only one change is under way beside the rest.
    await change(world)
    const pick = rnd.next()
    if (pick < 0.15) {
      const flushed = world.model.flush()
      // A second flush must not end before the first, although nothing is left for it to do.
      const first = rnd.next() < 0.5 ? world.volume.flush() : undefined
      await world.volume.flush()
      flushed()
      const cut = await recover(world.file.afterPowerCut(rnd), versions, world.model.possible)
      if (cut.wrong !== null) return `step ${step}, flushed: ${cut.wrong}`
      await first
    } else if (pick < 0.25 && frozen === null) {
      frozen = {
        generation: world.volume.freeze(),
        before: versions.get(world.volume.overlay!.baseId)!
      }
    } else if (pick < 0.35 && frozen !== null && committing === null) {
      committing = commit(world, frozen.generation, frozen.before).then(() => {
        frozen = null
        committing = null
      })
      if (rnd.next() < 0.5) await committing
    }
    if (step % 5 === 0 && committing === null) {
      const content = await contentOf(world.volume)
      const at = content.findIndex((number, chunk) => number !== world.model.now[chunk])
      if (at >= 0)
        return `step ${step}: chunk ${at} reads ${content[at]}, not ${world.model.now[at]}`
    }
    // The power may fail while something is on its way to the disk.
    const race = rnd.next()
    const racing = race < 0.5 ? change(world) : race < 0.7 ? flush(world) : null
    for (let ticks = racing === null ? 0 : rnd.int(0, 5); ticks > 0; ticks--) {
      await new Promise((resolve) => setImmediate(resolve))
    }
    for (let cut = 0; cut < 3; cut++) {
      const bytes = world.file.afterPowerCut(rnd)
      // As of the cut: what is under way goes on meanwhile.
      const after = Buffer.from(bytes)
      const existing = new Set(versions.keys())
      const allowed = world.model.possible.map((numbers) => new Set(numbers))
      const left = await recover(bytes, versions, world.model.possible)
      if (left.wrong !== null) return `step ${step}: ${left.wrong}`
      if (left.volume.overlay!.damagedChunks > 0) return `step ${step}: a cut seems to be damage`
      if (cut > 0) continue
      const hit = await damaged(rnd, after, versions, existing, allowed)
      if (typeof hit === 'string') return `step ${step}, damaged: ${hit}`
      tally.damaged++
      if (hit.lost === CHUNKS) tally.refused++
      else tally.lost += hit.lost
    }
    await racing

    if (rnd.next() < 0.03) {
      if (committing !== null) await committing
      // Go on with what is left.
      // After a power cut, or after the end of the process: then the page cache is still there.
      const file = rnd.next() < 0.5 ? new FaultyFile(world.file.afterPowerCut(rnd)) : world.file
      const left = await recover(file, versions, world.model.possible)
      if (left.wrong !== null) return `step ${step}, going on: ${left.wrong}`
      world.file = left.file
      world.volume = left.volume
      world.model = new VolumeModel(left.content)
      frozen = null
    }
  }
  return null
}

/**
 * A disk that lost power, then bits of what it had synced: the right content or an error, but never older content. Returns
 * what is wrong, else how many chunks could not be read.
 */
async function damaged(
  rnd: Random,
  left: Buffer,
  versions: Versions,
  existing: Set<string>,
  allowed: Set<number>[]
): Promise<string | { lost: number }> {
  const file = new FaultyFile(left)
  const { header } = await readOverlayHeader(file, SEAL.unsealKey)
  const synced = slotsOf(left).filter(({ sequence }) => sequence <= header.claim!.sequence)
  if (synced.length === 0) return { lost: 0 }
  for (let flips = rnd.int(1, 3); flips > 0; flips--) {
    const at = slotPosition(rnd.pick(synced).slot) + rnd.int(0, SLOT_BYTES - 1)
    file.content[at] ^= 1 << rnd.int(0, 7)
  }
  let overlay: Overlay
  try {
    const committed = (id: string) => existing.has(id)
    overlay = await Overlay.open('x', { ...SEAL, openFile: file.open, committed })
  } catch (err) {
    if ((err as HyperparcelError).code === 'DATA_CORRUPT') return { lost: CHUNKS }
    throw err
  }
  const volume = new Volume(baseOf(versions.get(overlay.baseId)!), overlay)
  let lost = 0
  for (let chunk = 0; chunk < CHUNKS; chunk++) {
    const number = await readNumber(volume, chunk)
    if (number === null) lost++
    else if (!allowed[chunk].has(number)) {
      return `chunk ${chunk} has ${number}, possible are ${[...allowed[chunk]].join()}`
    }
  }
  if (lost !== overlay.damagedChunks) return `${lost} lost, ${overlay.damagedChunks} expected`
  return { lost }
}

test('overlay: whatever a power cut leaves is what was flushed, or newer, also of a bad disk', async (t) => {
  t.timeout(120_000)
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
    const wrong = await run(seed, 60)
    if (wrong !== null) {
      t.fail(`seed ${seed}: ${wrong}`)
      return
    }
  }
  t.pass(`${SEEDS} seeds, ${SEEDS * 60 * 3} power cuts`)
  const { damaged, lost, refused } = tally
  t.ok(lost > 0, `${lost} chunks lost in ${damaged} damaged files`)
  t.ok(refused < damaged / 20, `${refused} files refused`)
})
