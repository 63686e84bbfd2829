/** Reads through a resume pack: a good one, and wrong, corrupt, late, absent ones. What is read is right in any case. */
import test, { type Assert } from 'brittle'
import { randomBytes } from 'node:crypto'
import type { HyperparcelError } from '../../../lib/base/errors.ts'
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'
import { decodePackHead, encodePackHead } from '../../../lib/format/pack.ts'
import { PACK_NONE, PACK_ZERO, openPackHead, readPack } from '../../../lib/parcel/pack-index.ts'
import { writePack } from '../../../lib/parcel/pack-writer.ts'
import type { VolumeBase } from '../../../lib/volume/base.ts'
import { PackSource, type PackSourceOptions } from '../../../lib/volume/pack-source.ts'
import { PackedBase } from '../../../lib/volume/packed-base.ts'
import { TouchTrace, TracedBase } from '../../../lib/volume/touch-trace.ts'
import { MemoryParcel } from '../../helpers/memory-parcel.ts'
import { until } from '../../helpers/until.ts'

const CHUNKS = 64
/** 40 chunks of data in an odd order, so three segments. */
const ORDER = Array.from({ length: 40 }, (_, i) => (i * 7) % CHUNKS)

/** A version with a pack of it, and its content. */
async function packed() {
  const content = Buffer.alloc(CHUNKS * CHUNK_BYTES)
  const changes = new Map<number, Buffer | null>()
  for (let i = 0; i < 60; i++) {
    changes.set(i, randomBytes(CHUNK_BYTES))
    changes.get(i)!.copy(content, i * CHUNK_BYTES)
  }
  const parcel = new MemoryParcel()
  const sizeBytes = content.byteLength
  const version = await parcel.commit([{ name: 'memory', sizeBytes, changes }])
  const id = parcel.places.get(version)!.version
  const sink = parcel.store.begin()
  const written = await writePack(
    {
      version: id,
      record: version.record,
      chunks: ORDER.map((chunk) => ({ volume: 0, chunk })),
      answered: 20,
      zeros: [{ volume: 0, first: 60, count: 4 }],
      dedupKey: parcel.dedupKey,
      read: ({ chunk }, target) => {
        content.copy(target, 0, chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES)
      }
    },
    sink
  )
  const { blocks } = parcel.store.of(sink.log)
  const place = { log: sink.log, block: written.block }
  const head = openPackHead(blocks[written.block], place, sink.keys.meta)
  const index = readPack(head, version.record)
  let mapped = 0
  const base: VolumeBase = {
    sizeBytes,
    read(first, count, target) {
      mapped += count
      content.copy(target, 0, first * CHUNK_BYTES, (first + count) * CHUNK_BYTES)
    },
    run: (_first, max) => ({ count: max, zero: false })
  }
  const bad: HyperparcelError[] = []
  const open = (more: Partial<PackSourceOptions> = {}) =>
    new PackSource({
      index,
      log: sink.log,
      block: written.block,
      keys: sink.keys,
      dedupKey: parcel.dedupKey,
      read: (block) => Promise.resolve(Buffer.from(blocks[block])),
      onbad: (err) => void bad.push(err),
      ...more
    })
  const volumeOf = (source: PackSource) => new PackedBase(base, source, index.volume('memory')!)
  return {
    content,
    version,
    written,
    blocks,
    head,
    index,
    base,
    bad,
    open,
    volumeOf,
    count: () => mapped
  }
}

type Packed = Awaited<ReturnType<typeof packed>>

async function readAll(t: Assert, { content }: Packed, volume: VolumeBase): Promise<void> {
  const target = Buffer.alloc(content.byteLength, 1)
  await volume.read(0, CHUNKS, target)
  t.ok(target.equals(content), 'in one read')
  for (let chunk = 0; chunk < CHUNKS; chunk++) {
    const one = Buffer.alloc(CHUNK_BYTES, 1)
    await volume.read(chunk, 1, one)
    if (!one.equals(content.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES))) {
      t.fail(`chunk ${chunk}`)
    }
  }
}

test('chunks come out of the pack, the others through the map', async (t) => {
  const made = await packed()
  const { index, written } = made
  const held = ORDER.filter((chunk) => chunk < 60)
  t.alike([index.chunks, index.segments, written.chunks], [held.length, 3, held.length])
  t.is(index.head.answered, ORDER.slice(0, 20).filter((chunk) => chunk < 60).length)
  const volume = index.volume('memory')!
  t.alike([volume.find(held[5]), volume.find(61), volume.find(2)], [5, PACK_ZERO, PACK_NONE])
  const source = made.open()
  source.start()
  await source.done
  await readAll(t, made, made.volumeOf(source))
  const left = 60 - held.length
  t.is(made.count(), 2 * left, 'only what it lacks was read elsewhere')
  t.alike(made.bad, [])
})

test('a reader asks for its segment, at once and urgently', async (t) => {
  const made = await packed()
  const asked: [number, boolean][] = []
  const source = made.open({
    read: (block, urgent) => {
      asked.push([block - made.written.block - 1, urgent])
      return Promise.resolve(Buffer.from(made.blocks[block]))
    }
  })
  const target = Buffer.alloc(CHUNK_BYTES)
  await made.volumeOf(source).read(ORDER[20], 1, target)
  t.alike(asked, [[1, true]])
  t.is(made.count(), 0)
  await readAll(t, made, made.volumeOf(source))
})

test('each changed byte of a segment ends the pack, and never reaches a reader', async (t) => {
  for (const at of [0, 3, 8, 9, 20, 40, 700, 2000, -1]) {
    const made = await packed()
    const source = made.open({
      read: (block) => {
        const copy = Buffer.from(made.blocks[block])
        copy[at < 0 ? copy.byteLength + at : at] ^= 1
        return Promise.resolve(copy)
      }
    })
    source.start()
    await readAll(t, made, made.volumeOf(source))
    t.is(made.bad.length, 1, `byte ${at}: told once: ${made.bad[0]?.code}`)
    t.ok(source.ended)
  }
})

test('a segment in the place of another, and chunks that their ids do not fit, end it too', async (t) => {
  const swapped = await packed()
  const first = swapped.written.block + 1
  const wrong = swapped.open({
    read: () => Promise.resolve(Buffer.from(swapped.blocks[first + 1]))
  })
  wrong.start()
  await readAll(t, swapped, swapped.volumeOf(wrong))
  t.is(swapped.bad.length, 1)
  const foreign = await packed()
  const source = foreign.open({ dedupKey: randomBytes(32) })
  source.start()
  await readAll(t, foreign, foreign.volumeOf(source))
  t.is(foreign.bad[0]?.code, 'DATA_CORRUPT', 'ids under another key')
})

test('one that does not come, or fails, is not waited for', async (t) => {
  const made = await packed()
  const silent = made.open({ read: () => new Promise(() => {}), patienceMs: 10 })
  silent.start()
  await readAll(t, made, made.volumeOf(silent))
  const gone = made.open({ read: () => Promise.reject(new Error('gone')) })
  gone.start()
  await gone.done
  await readAll(t, made, made.volumeOf(gone))
  t.alike(made.bad, [], 'which is nothing bad')
})

test('a pack counts for volumes of that content only', async (t) => {
  const made = await packed()
  const [memory] = made.version.record.volumes
  const other = { ...memory, root: { ...memory.root!, hash: randomBytes(32) } }
  const record = (volumes: (typeof memory)[]) => ({ ...made.version.record, volumes })
  await t.exception(() => readPack(made.head, record([other])), /of no volume/)
  const index = readPack(made.head, record([{ ...other, name: 'disk0' }, memory]))
  t.ok(index.volume('memory') !== null)
  t.is(index.volume('disk0'), null)
})

test('a head that names what cannot be does not decode', async (t) => {
  const { head } = await packed()
  const good = decodePackHead(head)
  for (const bad of [
    { runs: [{ volume: 1, first: 0, count: 1 }] },
    { runs: [{ volume: 0, first: 0, count: 9000 }] },
    { runs: [{ volume: 0, first: 2 ** 34, count: 1 }] },
    { zeros: [{ volume: 0, first: 0, count: 0 }] },
    { answered: 41 }
  ]) {
    await t.exception(() => encodePackHead({ ...good, ...bad }), /cannot be/, JSON.stringify(bad))
  }
  for (let at = 0; at < 60; at++) {
    const copy = Buffer.from(head)
    copy[at] ^= 0x55
    try {
      decodePackHead(copy)
    } catch (err) {
      t.ok(['FORMAT_INVALID', 'FORMAT_TOO_NEW'].includes((err as HyperparcelError).code))
    }
  }
})

test('a trace notes first touches, bounded; of a read around a fault the middle', async (t) => {
  const { base } = await packed()
  const trace = new TouchTrace(4)
  const volume = new TracedBase(base, trace, 0, true)
  const target = Buffer.alloc(8 * CHUNK_BYTES)
  await volume.read(3, 1, target)
  await volume.read(2, 2, target)
  t.alike(trace.names(), [3, 2])
  trace.readAround = true
  await volume.read(8, 8, target)
  t.alike(
    [trace.names(), trace.guesses()],
    [
      [3, 2, 12],
      [8, 9, 10, 11]
    ]
  )
  trace.end()
  await volume.read(30, 1, target)
  t.is(trace.size, 3)
  await until(() => trace.ended)
})
