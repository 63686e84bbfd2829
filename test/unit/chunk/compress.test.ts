import test from 'brittle'
import { createHash, randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { COMPRESSION, compress } from '../../../lib/chunk/compress.ts'
import { decompress } from '../../../lib/chunk/decompress.ts'

/** Data of many textures: repeats, noise, counters, text, in turns. */
function mixed(bytes: number, seed: number): Buffer {
  const out = Buffer.alloc(bytes)
  let at = 0
  for (let i = 0; at < bytes; i++) {
    const hash = createHash('sha256').update(`${seed}/${i}`).digest()
    const length = Math.min(bytes - at, 16 + hash.readUInt16LE(0))
    switch (hash[2] % 4) {
      case 0:
        out.fill(hash[3], at, at + length)
        break
      case 1:
        for (let b = 0; b < length; b++) out[at + b] = hash[(b * 7 + (b >> 5)) % 32] ^ (b >> 8)
        break
      case 2:
        for (let b = 0; b + 4 <= length; b += 4) out.writeUInt32LE(b * hash[3], at + b)
        break
      default:
        out.fill(hash.toString('base64'), at, at + length)
    }
    at += length
  }
  return out
}

test('what is compressed comes back, whatever it is', (t) => {
  let wrong = 0
  let zstd = 0
  for (let seed = 0; seed < 60; seed++) {
    const bytes = [1, 100, 4096, 65_536, 300_000, 1024 * 1024][seed % 6]
    const data = mixed(bytes, seed)
    const packed = compress(data)
    if (packed.compression === COMPRESSION.ZSTD) zstd++
    const back = Buffer.alloc(bytes)
    decompress(packed.compression, packed.data, back)
    if (!back.equals(data)) wrong++
  }
  t.is(wrong, 0)
  t.ok(zstd > 30, 'most of it was compressed')
})

test('noise is kept as it is', (t) => {
  const data = randomBytes(65_536)
  t.is(compress(data).compression, COMPRESSION.RAW)
})

test('data of another size, cut frames, bombs and rubbish are refused', async (t) => {
  const corrupt = (fn: () => unknown) => {
    return t.exception(fn, /does not decode/)
  }
  const { compression, data } = compress(Buffer.alloc(65_536, 'parcel'))
  t.is(compression, COMPRESSION.ZSTD)
  await corrupt(() => decompress(compression, data, Buffer.alloc(65_535)))
  await corrupt(() => decompress(compression, data.subarray(0, 5), Buffer.alloc(65_536)))
  await corrupt(() => decompress(compression, gzipSync(data), Buffer.alloc(65_536)))
  await corrupt(() => decompress(7, data, Buffer.alloc(65_536)))
  await corrupt(() => decompress(COMPRESSION.RAW, data, Buffer.alloc(65_536)))
  const bomb = compress(Buffer.alloc(256 * 1024 * 1024))
  t.ok(bomb.data.byteLength < 64 * 1024, `a bomb of ${bomb.data.byteLength} bytes`)
  await corrupt(() => decompress(bomb.compression, bomb.data, Buffer.alloc(65_536)))
  const small = compress(Buffer.alloc(65_536, 'parcel'))
  await corrupt(() =>
    decompress(compression, Buffer.concat([small.data, bomb.data]), Buffer.alloc(65_536))
  )
  await corrupt(() =>
    decompress(compression, Buffer.concat([data, Buffer.alloc(1)]), Buffer.alloc(65_536))
  )
  await corrupt(() => decompress(compression, data.subarray(0, -1), Buffer.alloc(65_536)))
})
