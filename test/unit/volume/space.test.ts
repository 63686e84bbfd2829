import test from 'brittle'
import type { Assert } from 'brittle'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { rmSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import path from 'node:path'
import type { HyperparcelError } from '../../../lib/base/errors.ts'
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'
import { OVERLAY_SLOTS_AT, SLOT_BYTES } from '../../../lib/format/overlay.ts'
import { ZeroBase } from '../../../lib/volume/base.ts'
import { Overlay } from '../../../lib/volume/overlay.ts'
import { Volume } from '../../../lib/volume/volume.ts'
import { FaultyFile } from '../../helpers/faulty-file.ts'
import { Random } from '../../helpers/random.ts'
import { need } from '../../helpers/requirements.ts'
import { SEAL, chunkOf, numberOf } from './model.ts'

const MIB = 1024 ** 2
const options = { volume: 0, name: 'disk0', baseId: 'v1', ...SEAL }

async function failure(work: void | Promise<unknown>): Promise<HyperparcelError | null> {
  try {
    await work
    return null
  } catch (err) {
    return err as HyperparcelError
  }
}

/** A small file system of its own, or null where that needs more rights. */
async function smallDisk(t: Assert, bytes: number): Promise<string | null> {
  if (!need(t, 'root')) return null
  const directory = await mkdtemp('/tmp/hyperparcel-space-')
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', directory])
  t.teardown(
    async () => {
      execFileSync('umount', ['--lazy', directory])
      await rm(directory, { recursive: true, force: true })
    },
    { order: 1, force: true }
  )
  return directory
}

async function readNumbers(volume: Volume, chunks: number): Promise<number[]> {
  const all = Buffer.alloc(chunks * CHUNK_BYTES)
  await volume.pread(all, 0)
  return Array.from({ length: chunks }, (_, i) =>
    numberOf(all.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES))
  )
}

test('overlay: a full disk refuses writes, loses nothing, and goes on when there is space', async (t) => {
  const directory = await smallDisk(t, 8 * MIB)
  if (directory === null) return
  const file = path.join(directory, 'overlay')
  const ballast = path.join(directory, 'ballast')
  writeFileSync(ballast, Buffer.alloc(4 * MIB))
  const low: number[] = []
  const size = 64 * MIB
  const overlay = await Overlay.create(file, {
    ...options,
    sizeBytes: size,
    lowSpaceBytes: MIB,
    onLowSpace: (freeBytes) => low.push(freeBytes)
  })
  const volume = new Volume(new ZeroBase(size), overlay)
  const content = new Array<number>(2000).fill(0)
  const write = async (chunk: number, number: number) => {
    const error = await failure(volume.pwrite(chunkOf(number), chunk * CHUNK_BYTES, false))
    if (error === null) content[chunk] = number
    return error
  }
  let chunk = 0
  let full: HyperparcelError | null = null
  for (; full === null && chunk < 2000; chunk++) full = await write(chunk, chunk + 1)
  t.is(full?.code, 'DISK_FULL')
  t.ok(full?.message.includes('disk0'))
  t.ok(full?.hint)
  t.ok(chunk > 800, `${chunk} chunks fitted`)
  t.alike(await readNumbers(volume, 2000), content, 'what was written before is there')
  t.is(await failure(volume.flush()), null)
  t.is(low.length, 1, 'low space was told, once')

  const before = chunk
  for (let i = 0; i < 50; i++) await write(i, 5000 + i)
  t.alike(await readNumbers(volume, 2000), content)
  rmSync(ballast)
  for (; chunk < before + 300; chunk++) t.is(await write(chunk, chunk + 1), null)
  t.is(await failure(volume.flush()), null)
  await volume.close()
  const again = new Volume(new ZeroBase(size), await Overlay.open(file, SEAL))
  t.alike(await readNumbers(again, 2000), content, 'after reopening')
  await again.close()
})

test('overlay: on a full disk, replaced slots are used again', async (t) => {
  const file = new FaultyFile()
  const overlay = await Overlay.create('x', { ...options, sizeBytes: MIB, openFile: file.open })
  const volume = new Volume(new ZeroBase(MIB), overlay)
  for (let chunk = 0; chunk < 100; chunk++) {
    await volume.pwrite(chunkOf(chunk + 1), chunk * CHUNK_BYTES, false)
  }
  file.lengthMax = file.content.byteLength + 10 * SLOT_BYTES
  for (let round = 0; round < 20; round++) {
    for (let chunk = 0; chunk < 100; chunk++) {
      const number = round * 100 + chunk + 1
      await volume.pwrite(chunkOf(number), chunk * CHUNK_BYTES, false)
    }
  }
  t.ok(file.content.byteLength <= file.lengthMax)
  t.alike((await readNumbers(volume, 100)).slice(0, 3), [1901, 1902, 1903])
})

test('overlay: a write that failed for lack of space never comes back', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const rnd = new Random(seed)
    const file = new FaultyFile()
    const overlay = await Overlay.create('x', { ...options, sizeBytes: MIB, openFile: file.open })
    const volume = new Volume(new ZeroBase(MIB), overlay)
    const content = new Array<number>(256).fill(0)
    let refused = 0
    for (let i = 1; i < 200; i++) {
      file.lengthMax = rnd.chance(0.7) ? Infinity : file.content.byteLength + rnd.int(0, 9000)
      const first = rnd.int(0, 250)
      const count = rnd.int(1, 6)
      const data = Buffer.concat(Array.from({ length: count }, (_, k) => chunkOf(i * 10 + k)))
      const error = await failure(volume.pwrite(data, first * CHUNK_BYTES, rnd.chance(0.2)))
      if (error === null) for (let k = 0; k < count; k++) content[first + k] = i * 10 + k
      else if (error.code === 'DISK_FULL') refused++
      else return t.fail(`seed ${seed}: ${error.code}`)
    }
    file.lengthMax = Infinity
    const now = await readNumbers(volume, 256)
    const opened = await Overlay.open('x', { ...SEAL, openFile: new FaultyFile(file.content).open })
    const then = await readNumbers(new Volume(new ZeroBase(MIB), opened), 256)
    const wrong = content.findIndex((number, i) => now[i] !== number || then[i] !== number)
    if (wrong >= 0) return t.fail(`seed ${seed}: chunk ${wrong}`)
    if (refused < 10) return t.fail(`seed ${seed}: only ${refused} refused`)
  }
  t.pass()
})

test('overlay: a reserve keeps writes from failing on a disk that fills up', async (t) => {
  const directory = await smallDisk(t, 24 * MIB)
  if (directory === null) return
  const file = path.join(directory, 'memory')
  const size = 12 * MIB
  const overlay = await Overlay.create(file, {
    ...options,
    sizeBytes: size,
    durable: false,
    reserveBytes: size
  })
  t.ok(statSync(file).blocks * 512 >= OVERLAY_SLOTS_AT + (size / CHUNK_BYTES) * SLOT_BYTES)
  const ballast = path.join(directory, 'ballast')
  await failure(Promise.resolve().then(() => writeFileSync(ballast, Buffer.alloc(24 * MIB))))
  t.ok((await overlay.freeBytes()) < 64 * 1024, 'the disk is full')
  const volume = new Volume(new ZeroBase(size), overlay)
  const data = randomBytes(size)
  for (let round = 0; round < 4; round++) {
    const writes: (void | Promise<void>)[] = []
    for (let at = 0; at < size; at += 64 * 1024) {
      writes.push(volume.pwrite(data.subarray(at, at + 64 * 1024), at, false))
    }
    for (const write of writes) await write
    for (let i = 0; i < 500; i++) {
      const at = Math.floor(Math.random() * (size / CHUNK_BYTES)) * CHUNK_BYTES
      await volume.pwrite(data.subarray(at, at + CHUNK_BYTES), at, true)
    }
  }
  const all = Buffer.alloc(size)
  await volume.pread(all, 0)
  t.ok(all.equals(data))
  await volume.close()
})

test('overlay: a reserve that does not fit says how much is missing', async (t) => {
  const directory = await smallDisk(t, 8 * MIB)
  if (directory === null) return
  const create = (name: string, reserveBytes: number) =>
    Overlay.create(path.join(directory, name), { ...options, sizeBytes: MIB, reserveBytes })
  const error = await failure(create('large', 16 * MIB))
  t.is(error?.code, 'DISK_FULL')
  const missing = Number(error?.context?.['missing_bytes'])
  t.ok(missing > 9 * MIB && missing < 13 * MIB, `${missing} bytes`)
  t.ok(error?.hint?.includes(`${Math.ceil(missing / MIB)} MiB`))
  t.absent(statSync(path.join(directory, 'large'), { throwIfNoEntry: false }), 'no file is left')
  const overlay = await create('small', MIB)
  t.is((await failure(overlay.reserve(16 * MIB)))?.code, 'DISK_FULL')
  await overlay.close()
})
