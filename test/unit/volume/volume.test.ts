import test from 'brittle'
import type { Assert } from 'brittle'
import path from 'node:path'
import { readFileSync, statSync } from 'node:fs'
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'
import type { HyperparcelError } from '../../../lib/base/errors.ts'
import {
  OVERLAY_SLOTS_AT,
  SLOT_BYTES,
  SLOT_HEADER_AGAIN_AT,
  SLOT_NONCE_AT,
  slotPosition
} from '../../../lib/format/overlay.ts'
import { ZeroBase } from '../../../lib/volume/base.ts'
import { Overlay } from '../../../lib/volume/overlay.ts'
import type { OverlayCreateOptions } from '../../../lib/volume/overlay-options.ts'
import { Volume } from '../../../lib/volume/volume.ts'
import { FaultyFile } from '../../helpers/faulty-file.ts'
import { Random } from '../../helpers/random.ts'
import { MemoryBase } from '../../helpers/memory-base.ts'
import { until } from '../../helpers/until.ts'
import { SEAL, chunkOf, numberOf } from './model.ts'

const MIB = 1024 ** 2

function options(sizeBytes: number, more: Partial<OverlayCreateOptions> = {}) {
  return { volume: 3, name: 'disk0', sizeBytes, baseId: 'v1', ...SEAL, ...more }
}

async function blank(t: Assert, chunks: number, more: Partial<OverlayCreateOptions> = {}) {
  const file = path.join(await t.tmp(), 'disk0.overlay')
  const size = chunks * CHUNK_BYTES
  const overlay = await Overlay.create(file, options(size, more))
  const volume = new Volume(new ZeroBase(size), overlay)
  t.teardown(() => volume.close())
  return { file, overlay, volume }
}

async function codeOf(promise: void | Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'none'
  } catch (err) {
    return (err as HyperparcelError).code
  }
}

async function readChunk(volume: Volume, chunk: number): Promise<Buffer> {
  const target = Buffer.alloc(CHUNK_BYTES, 0xff)
  await volume.pread(target, chunk * CHUNK_BYTES)
  return target
}

test('volume: any alignment reads back like a plain buffer', async (t) => {
  const rnd = new Random(7)
  const size = 40 * CHUNK_BYTES + 512 * 3
  const content = Buffer.alloc(size)
  for (let i = 0; i < size / 3; i++) content[i] = rnd.next() * 256
  const expected = Buffer.from(content)
  const overlay = await Overlay.create(path.join(await t.tmp(), 'o'), options(size))
  const base = new MemoryBase(content)
  const volume = new Volume(base, overlay)
  t.teardown(() => volume.close())
  for (let round = 0; round < 600; round++) {
    base.delay = Math.floor(rnd.next() * 3)
    const offset = Math.floor((rnd.next() * size) / 512) * 512 + (rnd.next() < 0.2 ? 1 : 0)
    const length = Math.min(size - offset, Math.floor(rnd.next() * 5 * CHUNK_BYTES))
    const kind = rnd.next()
    if (kind < 0.4) {
      const data = Buffer.alloc(length, rnd.next() < 0.2 ? 0 : Math.floor(rnd.next() * 256))
      data.copy(expected, offset)
      await volume.pwrite(data, offset, rnd.next() < 0.1)
    } else if (kind < 0.6) {
      expected.fill(0, offset, offset + length)
      if (rnd.next() < 0.5) await volume.trim(offset, length, false)
      else await volume.writeZeroes(offset, length, true, rnd.next() < 0.1)
    } else {
      const target = Buffer.alloc(length, 0xee)
      await volume.pread(target, offset)
      if (!target.equals(expected.subarray(offset, offset + length))) {
        return t.fail(`round ${round}: ${length} bytes at ${offset} differ`)
      }
    }
  }
  const all = Buffer.alloc(size)
  await volume.pread(all, 0)
  t.ok(all.equals(expected))
})

test('volume: concurrent changes inside one chunk lose nothing', async (t) => {
  const { volume } = await blank(t, 8)
  for (let round = 0; round < 20; round++) {
    const jobs: (void | Promise<void>)[] = []
    for (let sector = 0; sector < 16; sector++) {
      jobs.push(volume.pwrite(Buffer.alloc(512, round * 16 + sector + 1), sector * 512, false))
    }
    for (const job of jobs) await job
    const read = Buffer.alloc(2 * CHUNK_BYTES)
    await volume.pread(read, 0)
    for (let sector = 0; sector < 16; sector++) {
      const part = read.subarray(sector * 512, sector * 512 + 512)
      if (!part.equals(Buffer.alloc(512, round * 16 + sector + 1))) {
        return t.fail(`sector ${sector} of round ${round} was lost`)
      }
    }
  }
  // A whole write that ended must not be undone by the rest of a merge that began before.
  for (let round = 0; round < 50; round++) {
    const part = volume.pwrite(Buffer.alloc(512, 1), 0, false)
    const whole = volume.pwrite(Buffer.alloc(CHUNK_BYTES, 2), 0, false)
    const zero = round % 2 === 0 ? volume.trim(CHUNK_BYTES, CHUNK_BYTES, false) : undefined
    await part
    await whole
    await zero
    const read = await readChunk(volume, 0)
    if (read[600] !== 2) return t.fail('a whole write was lost')
    await volume.trim(0, CHUNK_BYTES, false)
  }
  t.pass()
})

test('volume: a blank range stays free of slots, zeros cost nothing', async (t) => {
  const { volume, overlay, file } = await blank(t, 64)
  await volume.trim(0, volume.size, false)
  await volume.writeZeroes(0, volume.size, false, false)
  await volume.pwrite(Buffer.alloc(volume.size), 0, false)
  t.is(statSync(file).size, OVERLAY_SLOTS_AT, 'no slot was written')
  await volume.pwrite(Buffer.alloc(10 * CHUNK_BYTES, 1), 5 * CHUNK_BYTES, false)
  t.is(overlay.dirtyBytes, 10 * CHUNK_BYTES)
  await volume.trim(0, volume.size, false)
  t.is(overlay.dirtyBytes, 0)
  await volume.flush()
  await until(() => overlay.storedBytes < 11 * SLOT_BYTES)
  t.is(overlay.storedBytes, SLOT_BYTES, 'one tombstone is left')
  t.alike(await readChunk(volume, 6), Buffer.alloc(CHUNK_BYTES))
})

test('volume: block status tells holes from data', async (t) => {
  const content = Buffer.alloc(16 * CHUNK_BYTES)
  content.fill(1, 4 * CHUNK_BYTES, 8 * CHUNK_BYTES)
  const overlay = await Overlay.create(path.join(await t.tmp(), 'o'), options(content.byteLength))
  const volume = new Volume(new MemoryBase(content), overlay)
  t.teardown(() => volume.close())
  const k = CHUNK_BYTES
  t.alike(volume.blockStatus(0, volume.size, 99), [
    { length: 4 * k, hole: true },
    { length: 4 * k, hole: false },
    { length: 8 * k, hole: true }
  ])
  await volume.pwrite(Buffer.alloc(k, 2), 10 * k, false)
  await volume.trim(5 * k, k, false)
  t.alike(volume.blockStatus(k + 512, 10 * k, 99), [
    { length: 3 * k - 512, hole: true },
    { length: k, hole: false },
    { length: k, hole: true },
    { length: 2 * k, hole: false },
    { length: 2 * k, hole: true },
    { length: k, hole: false },
    { length: 512, hole: true }
  ])
  t.alike(volume.blockStatus(0, volume.size, 2), [
    { length: 4 * k, hole: true },
    { length: k, hole: false }
  ])
})

test('volume: without an overlay it refuses changes, and answers at once from memory', async (t) => {
  const volume = new Volume(new MemoryBase(Buffer.alloc(8192, 9)), null)
  t.ok(volume.readOnly)
  const target = Buffer.alloc(100)
  t.is(volume.pread(target, 4090), undefined)
  t.alike(target, Buffer.alloc(100, 9))
  t.is(await codeOf(Promise.resolve().then(() => volume.pwrite(target, 0, false))), 'READ_ONLY')
  t.is(volume.flush(), undefined)
})

test('overlay: freeze, release and abandon', async (t) => {
  const { volume, overlay } = await blank(t, 32)
  const write = (chunk: number, number: number) =>
    volume.pwrite(chunkOf(number), chunk * CHUNK_BYTES, false)
  await write(1, 11)
  await write(2, 12)
  await write(3, 13)
  await volume.trim(3 * CHUNK_BYTES, CHUNK_BYTES, false)
  const frozen = volume.freeze()
  t.alike(
    [...frozen.runs()],
    [
      { first: 1, count: 2, zero: false },
      { first: 3, count: 1, zero: true }
    ]
  )
  t.is(frozen.dirtyBytes, 2 * CHUNK_BYTES)
  await write(2, 22)
  await volume.trim(CHUNK_BYTES, CHUNK_BYTES, false)
  await write(3, 23)
  const copy = Buffer.alloc(3 * CHUNK_BYTES)
  await frozen.read(1, 3, copy)
  t.alike(copy, Buffer.concat([chunkOf(11), chunkOf(12), chunkOf(0)]), 'frozen content stays')
  t.is(numberOf(await readChunk(volume, 1)), 0)
  t.is(numberOf(await readChunk(volume, 2)), 22)

  frozen.abandon()
  t.is(numberOf(await readChunk(volume, 1)), 0)
  t.is(numberOf(await readChunk(volume, 2)), 22)
  t.is(numberOf(await readChunk(volume, 3)), 23)
  await volume.flush()
  t.is(overlay.storedBytes, 7 * SLOT_BYTES)
  await until(() => overlay.storedBytes < 7 * SLOT_BYTES)
  t.is(overlay.storedBytes, 3 * SLOT_BYTES, 'what was replaced is free once that is claimed')

  const again = volume.freeze()
  await write(4, 34)
  const content = Buffer.alloc(volume.size)
  chunkOf(22).copy(content, 2 * CHUNK_BYTES)
  chunkOf(23).copy(content, 3 * CHUNK_BYTES)
  await again.release(new MemoryBase(content), 'v2')
  t.is(overlay.baseId, 'v2')
  t.is(overlay.dirtyBytes, CHUNK_BYTES)
  t.is(overlay.storedBytes, SLOT_BYTES)
  for (const [chunk, number] of [0, 0, 22, 23, 34].entries()) {
    t.is(numberOf(await readChunk(volume, chunk)), number)
  }
})

test('overlay: reopening finds everything, and knows what a commit took', async (t) => {
  const { file, volume } = await blank(t, 32)
  const write = (chunk: number, number: number) =>
    volume.pwrite(chunkOf(number), chunk * CHUNK_BYTES, false)
  await write(1, 11)
  await write(2, 12)
  await write(1, 21)
  const frozen = volume.freeze()
  await frozen.markCommit('v2')
  await write(3, 13)
  await volume.close()

  const read = async (overlay: Overlay) => {
    const reopened = new Volume(new ZeroBase(volume.size), overlay)
    const numbers: number[] = []
    for (let chunk = 0; chunk < 5; chunk++) numbers.push(numberOf(await readChunk(reopened, chunk)))
    await reopened.close()
    return numbers
  }
  const asked: string[] = []
  const open = (taken: boolean) =>
    Overlay.open(file, {
      ...SEAL,
      committed: (id) => {
        asked.push(id)
        return taken
      }
    })
  const unknown = await Overlay.open(file, SEAL)
  t.is(unknown.baseId, 'v1')
  t.alike(await read(unknown), [0, 21, 12, 13, 0])
  const taken = await open(true)
  t.is(taken.baseId, 'v2')
  t.alike(await read(taken), [0, 0, 0, 13, 0], 'only what the commit did not take')
  t.alike(await read(await open(true)), [0, 0, 0, 13, 0])
  t.alike(asked, ['v2'], 'settled once')
})

test('overlay: slots of replaced and discarded chunks are used again, a free end is cut', async (t) => {
  const { file, volume, overlay } = await blank(t, 4096)
  const all = Buffer.alloc(16 * MIB, 1)
  await volume.pwrite(all, 0, false)
  for (let round = 0; round < 8; round++) {
    await volume.pwrite(all, 0, false)
    await volume.flush()
  }
  t.ok(statSync(file).size < 3.2 * 16 * MIB, `${statSync(file).size / MIB} MiB`)
  await volume.trim(0, volume.size, true)
  await volume.pwrite(chunkOf(1), 0, true)
  await volume.pwrite(chunkOf(2), 0, true)
  t.ok(overlay.storedBytes <= 4 * SLOT_BYTES)
  t.ok(statSync(file).size < 17 * MIB, `${statSync(file).size / MIB} MiB after the discard`)
})

test('overlay: the key and the content are not in the file', async (t) => {
  let key = Buffer.alloc(0)
  const { file, volume } = await blank(t, 64, {
    sealKey: (raw) => {
      key = Buffer.from(raw)
      return SEAL.sealKey(raw)
    }
  })
  const marker = Buffer.from('MARKER-8b1d7a52-PLAINTEXT')
  for (let chunk = 0; chunk < 40; chunk++) {
    await volume.pwrite(Buffer.alloc(CHUNK_BYTES, marker), chunk * CHUNK_BYTES, chunk % 7 === 0)
  }
  const frozen = volume.freeze()
  await frozen.markCommit('v2')
  const bytes = readFileSync(file)
  t.absent(bytes.includes(marker))
  t.absent(bytes.includes(marker.subarray(0, 8)))
  t.absent(bytes.includes(key))
  t.ok(bytes.includes(SEAL.sealKey(key)), 'the sealed key is')
  t.is(statSync(file).mode & 0o777, 0o600)
})

test('overlay: a flipped byte is never read as data', async (t) => {
  const rnd = new Random(11)
  const file = new FaultyFile()
  const size = 16 * CHUNK_BYTES
  const overlay = await Overlay.create('x', options(size, { openFile: file.open }))
  const volume = new Volume(new ZeroBase(size), overlay)
  for (let chunk = 0; chunk < 16; chunk++) {
    await volume.pwrite(chunkOf(chunk + 1), chunk * CHUNK_BYTES, true)
  }
  let corrupt = 0
  let repaired = 0
  for (let round = 0; round < 200; round++) {
    const slot = rnd.int(0, 15)
    // Every fourth hits one copy of a header.
    const within = round % 4 > 0 ? rnd.int(SLOT_NONCE_AT, SLOT_HEADER_AGAIN_AT - 1) : rnd.int(0, 47)
    const inHeader = round % 4 === 0
    const at = slotPosition(slot) + (within < 24 || !inHeader ? within : SLOT_BYTES - 48 + within)
    const bit = 1 << rnd.int(0, 7)
    file.content[at] ^= bit
    for (let chunk = 0; chunk < 16; chunk++) {
      const target = Buffer.alloc(CHUNK_BYTES)
      const code = await codeOf(volume.pread(target, chunk * CHUNK_BYTES))
      if (code === 'DATA_CORRUPT') corrupt++
      else if (code !== 'none' || numberOf(target) !== chunk + 1)
        return t.fail(`${code} in ${chunk}`)
      else if (chunk === slot && inHeader) repaired++
    }
    file.content[at] ^= bit
  }
  t.is(corrupt, 150, 'each flip in a slot spoils exactly its chunk')
  t.is(repaired, 50, 'but none in one copy of its header')

  const swapped = Buffer.from(file.content)
  const slot = (n: number) => OVERLAY_SLOTS_AT + n * SLOT_BYTES
  file.content.copy(file.content, slot(1), slot(2), slot(3))
  t.is(await codeOf(readChunk(volume, 1)), 'DATA_CORRUPT', 'a slot in the place of another')
  swapped.copy(file.content)

  for (let at = 100; at < OVERLAY_SLOTS_AT; at += 4096) file.content[at] ^= 1
  t.is(await codeOf(Overlay.open('x', { ...SEAL, openFile: file.open })), 'DATA_CORRUPT')
  for (let at = 100; at < OVERLAY_SLOTS_AT; at += 4096) file.content[at] ^= 1
  t.is(
    await codeOf(Overlay.open('x', { unsealKey: () => Buffer.alloc(32), openFile: file.open })),
    'DATA_CORRUPT',
    'another key'
  )
})

test('overlay: a sync that failed is never forgotten', async (t) => {
  const file = new FaultyFile()
  const overlay = await Overlay.create('x', options(MIB, { openFile: file.open }))
  const volume = new Volume(new ZeroBase(MIB), overlay)
  await volume.pwrite(chunkOf(1), 0, true)
  await volume.pwrite(chunkOf(2), 0, false)
  file.failSync = Object.assign(new Error('EIO'), { code: 'EIO' })
  t.is(await codeOf(volume.flush()), 'SYNC_FAILED')
  file.failSync = null
  t.is(await codeOf(volume.flush()), 'SYNC_FAILED')
  t.is(await codeOf(volume.pwrite(chunkOf(3), 0, true)), 'SYNC_FAILED')
  t.is(numberOf(await readChunk(volume, 0)), 3, 'reading goes on')
})

test('overlay: a memory volume needs no sync, and frees at once', async (t) => {
  const file = new FaultyFile()
  const overlay = await Overlay.create(
    'x',
    options(MIB, { openFile: file.open, durable: false, reserveBytes: MIB })
  )
  const volume = new Volume(new ZeroBase(MIB), overlay)
  for (let round = 1; round < 20; round++) {
    for (let chunk = 0; chunk < 256; chunk += 2) {
      await volume.pwrite(
        Buffer.concat([chunkOf(round), chunkOf(round + 1)]),
        chunk * CHUNK_BYTES,
        true
      )
    }
  }
  t.is(volume.flush(), undefined)
  t.is(file.changes.filter((change) => change.type === 'sync').length, 0)
  t.is(overlay.storedBytes, 256 * SLOT_BYTES)
  const reserve = OVERLAY_SLOTS_AT + (256 + 512) * SLOT_BYTES
  t.ok(file.content.byteLength <= reserve, 'never outside of the reserve')
  t.is(numberOf(await readChunk(volume, 255)), 20)
})
