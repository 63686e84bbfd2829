/**
 * What every `BlockDevice` does, whatever is behind it. The factory makes a fresh, writable device of the asked
 * size that reads as zeros; the suite closes it.
 */
import type { Assert, Test } from 'brittle'
import type { BlockDevice, BlockExtent } from '../../lib/block/device.ts'
import { Random } from '../helpers/random.ts'

export type BlockDeviceFactory = (
  t: Assert,
  sizeBytes: number
) => BlockDevice | Promise<BlockDevice>

const SIZE_BYTES = 4 * 1024 * 1024
/** Not a multiple of a chunk, nor of a sector. */
const ODD_SIZE_BYTES = 3 * 1024 * 1024 + 1234

export interface SuiteOptions {
  /** Steps of the random model check. */
  steps?: number
  /** Device sizes have to be a multiple of this; 1 by default. */
  sizeMultiple?: number
}

export function blockDeviceSuite(
  test: Test,
  name: string,
  factory: BlockDeviceFactory,
  opts: SuiteOptions = {}
): void {
  const make = async (t: Assert, sizeBytes = SIZE_BYTES): Promise<BlockDevice> => {
    const multiple = opts.sizeMultiple ?? 1
    const device = await factory(t, Math.ceil(sizeBytes / multiple) * multiple)
    t.teardown(() => device.close(), { order: -1, force: true })
    return device
  }

  test(`${name}: a fresh device reads as zeros to its last byte`, async (t) => {
    const device = await make(t, ODD_SIZE_BYTES)
    t.absent(device.readOnly)
    t.ok(device.size >= ODD_SIZE_BYTES)
    const tail = await read(device, device.size - 5000, 5000)
    t.ok(tail.equals(Buffer.alloc(5000)))
    t.is((await read(device, 0, 1))[0], 0)
  })

  test(`${name}: a write is read back at any alignment`, async (t) => {
    const device = await make(t)
    const random = new Random(1)
    for (const [offset, length] of [
      [0, 4096],
      [8192, 8192],
      [20_000, 1],
      [24_575, 2],
      [28_673, 4095],
      [40_001, 12_345],
      [1_048_576 - 7, 300_000],
      [SIZE_BYTES - 1, 1]
    ] as const) {
      const data = random.bytes(length)
      await device.pwrite(Buffer.from(data), offset, false)
      t.ok((await read(device, offset, length)).equals(data), `${length} bytes at ${offset}`)
    }
    t.is((await read(device, 20_001, 1))[0], 0, 'the byte behind is untouched')
  })

  test(`${name}: later writes win where they overlap`, async (t) => {
    const device = await make(t)
    await device.pwrite(Buffer.alloc(20_000, 1), 1000, false)
    await device.pwrite(Buffer.alloc(5000, 2), 500, false)
    await device.pwrite(Buffer.alloc(10_000, 3), 15_000, false)
    const expected = Buffer.alloc(26_000)
    expected.fill(1, 1000, 21_000).fill(2, 500, 5500).fill(3, 15_000, 25_000)
    t.ok((await read(device, 0, 26_000)).equals(expected))
  })

  test(`${name}: the device keeps no reference to a buffer`, async (t) => {
    const device = await make(t)
    const source = Buffer.alloc(8192, 7)
    await device.pwrite(source, 4096, false)
    source.fill(9)
    const target = await read(device, 4096, 8192)
    t.ok(target.equals(Buffer.alloc(8192, 7)), 'changing the source later changes nothing')
    target.fill(0)
    t.ok((await read(device, 4096, 8192)).equals(Buffer.alloc(8192, 7)), 'nor does the target')
  })

  test(`${name}: trim and write-zeroes read as zeros, and only there`, async (t) => {
    const device = await make(t)
    for (const erase of ['trim', 'writeZeroes', 'writeZeroes without trim'] as const) {
      await device.pwrite(Buffer.alloc(SIZE_BYTES, 5), 0, false)
      for (const [offset, length] of [
        [4096, 4096],
        [10_000, 1],
        [20_001, 9999],
        [1_000_000, 1_500_000],
        [SIZE_BYTES - 4097, 4097]
      ] as const) {
        if (erase === 'trim') await device.trim(offset, length, false)
        else await device.writeZeroes(offset, length, erase === 'writeZeroes', true)
        const around = await read(device, offset - 1, Math.min(length + 2, SIZE_BYTES - offset + 1))
        t.is(around[0], 5, `${erase}: before ${offset}`)
        t.ok(around.subarray(1, length + 1).equals(Buffer.alloc(length)), `${erase}: ${length}`)
        if (around.byteLength === length + 2) t.is(around[length + 1], 5, `${erase}: behind`)
      }
    }
  })

  test(`${name}: what was erased can be written again`, async (t) => {
    const device = await make(t)
    await device.pwrite(Buffer.alloc(1_048_576, 1), 0, false)
    await device.trim(0, 1_048_576, false)
    await device.pwrite(Buffer.alloc(10, 2), 5000, false)
    const expected = Buffer.alloc(8192)
    expected.fill(2, 5000 - 4096, 5010 - 4096)
    t.ok((await read(device, 4096, 8192)).equals(expected))
  })

  test(`${name}: block status covers the range, and a hole reads as zeros`, async (t) => {
    const device = await make(t, ODD_SIZE_BYTES)
    await device.pwrite(Buffer.alloc(100_000, 1), 500_000, false)
    await device.pwrite(Buffer.alloc(10, 1), 2_000_000, false)
    await device.trim(520_000, 50_000, false)
    for (const [offset, length] of [
      [0, device.size],
      [1, 1],
      [499_999, 70_003],
      [device.size - 1, 1]
    ] as const) {
      const extents = await device.blockStatus(offset, length, 1000)
      t.is(total(extents), length, `extents cover ${length} bytes at ${offset}`)
      t.ok(
        extents.every((extent) => extent.length > 0),
        'none is empty'
      )
      await checkHoles(t, device, offset, extents)
    }
    t.absent((await device.blockStatus(500_000, 4096, 1))[0].hole, 'what was written is data')
    const first = await device.blockStatus(0, device.size, 1)
    t.is(first.length, 1, 'no more extents than asked for')
    t.ok(first[0].length <= device.size)
  })

  test(`${name}: flush and FUA are answered`, async (t) => {
    const device = await make(t)
    await device.pwrite(Buffer.alloc(5000, 1), 100, true)
    await device.flush()
    await Promise.all([device.flush(), device.pwrite(Buffer.alloc(1, 2), 0, false), device.flush()])
    await device.trim(8192, 4096, true)
    t.is((await read(device, 100, 1))[0], 1)
    t.is((await read(device, 0, 1))[0], 2)
  })

  test(`${name}: many requests at once`, async (t) => {
    const device = await make(t)
    const writes = Array.from({ length: 256 }, (_, i) =>
      write(device, Buffer.alloc(16_384, i), i * 16_384)
    )
    await Promise.all(writes)
    const reads = await Promise.all(
      Array.from({ length: 256 }, (_, i) => read(device, i * 16_384, 16_384))
    )
    t.ok(reads.every((data, i) => data.equals(Buffer.alloc(16_384, i))))
  })

  test(`${name}: parts of one chunk written at once are all kept`, async (t) => {
    const device = await make(t)
    const writes = Array.from({ length: 4096 / 64 }, (_, i) =>
      write(device, Buffer.alloc(64, i + 1), 4096 + i * 64)
    )
    await Promise.all([...writes, device.flush()])
    const data = await read(device, 4096, 4096)
    t.ok(writes.every((_, i) => data.subarray(i * 64, i * 64 + 64).equals(Buffer.alloc(64, i + 1))))
  })

  test(`${name}: behaves as an array of bytes under random requests`, async (t) => {
    const device = await make(t, ODD_SIZE_BYTES)
    const random = new Random()
    t.comment(`SEED=${random.seed}`)
    const model = Buffer.alloc(device.size)
    for (let step = 0; step < (opts.steps ?? 300); step++) {
      const { offset, length } = range(random, device.size)
      const wrong = await randomStep(device, model, random, offset, length)
      if (wrong !== null) return t.fail(`step ${step}, seed ${random.seed}: ${wrong}`)
    }
    t.ok((await read(device, 0, device.size)).equals(model), 'all of it at the end')
  })
}

/** One request on both; says what differs. */
async function randomStep(
  device: BlockDevice,
  model: Buffer,
  random: Random,
  offset: number,
  length: number
): Promise<string | null> {
  const fua = random.chance(0.05)
  switch (
    random.pick(['write', 'write', 'write', 'read', 'read', 'zero', 'trim', 'status', 'flush'])
  ) {
    case 'write': {
      const data = random.chance(0.2) ? Buffer.alloc(length) : random.bytes(length)
      data.copy(model, offset)
      await device.pwrite(data, offset, fua)
      return null
    }
    case 'read': {
      const data = await read(device, offset, length)
      const same = data.equals(model.subarray(offset, offset + length))
      return same ? null : `reading ${length} bytes at ${offset}`
    }
    case 'zero':
      model.fill(0, offset, offset + length)
      await device.writeZeroes(offset, length, random.chance(0.5), fua)
      return null
    case 'trim':
      model.fill(0, offset, offset + length)
      await device.trim(offset, length, fua)
      return null
    case 'status': {
      const extents = await device.blockStatus(offset, length, 10_000)
      if (total(extents) !== length) return `extents of ${length} bytes at ${offset}`
      let position = offset
      for (const extent of extents) {
        const end = position + extent.length
        if (extent.hole && model.subarray(position, end).some((byte) => byte !== 0)) {
          return `a hole at ${position} that holds data`
        }
        position = end
      }
      return null
    }
    default:
      await device.flush()
      return null
  }
}

/** Mostly small and often near or across boundaries, sometimes large. */
function range(random: Random, size: number): { offset: number; length: number } {
  const aligned = random.chance(0.4)
  const longest = random.chance(0.1) ? 600_000 : 20_000
  let offset = random.int(0, size - 1)
  let length = random.int(1, longest)
  if (aligned) {
    offset -= offset % 4096
    length = Math.ceil(length / 4096) * 4096
  }
  return { offset, length: Math.min(length, size - offset) }
}

async function read(device: BlockDevice, offset: number, length: number): Promise<Buffer> {
  // Garbage, so that a byte which is not filled in is noticed.
  const target = Buffer.alloc(length, 0xee)
  await device.pread(target, offset)
  return target
}

async function write(device: BlockDevice, data: Buffer, offset: number): Promise<void> {
  await device.pwrite(data, offset, false)
}

async function checkHoles(
  t: Assert,
  device: BlockDevice,
  offset: number,
  extents: BlockExtent[]
): Promise<void> {
  let position = offset
  for (const { length, hole } of extents) {
    if (hole) {
      const data = await read(device, position, length)
      if (data.some((byte) => byte !== 0)) return t.fail(`the hole at ${position} holds data`)
    }
    position += length
  }
}

function total(extents: BlockExtent[]): number {
  return extents.reduce((sum, extent) => sum + extent.length, 0)
}
