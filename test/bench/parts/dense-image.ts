/** Images without holes: the data of a real one, or made up. */
import { createCipheriv, randomBytes } from 'node:crypto'
import { open } from 'node:fs/promises'
import { timed } from './command.ts'

const PIECE_BYTES = 4 * 1024 * 1024
const CHUNK_BYTES = 4096
const MIB = 1024 ** 2

interface Extent {
  start: number
  length: number
  zero: boolean
}

/** Everything in a raw image that is not a hole, one after the other, `bytesMax` at most. Resolves with its size. */
export async function withoutHoles(
  image: string,
  target: string,
  bytesMax: number
): Promise<number> {
  const { stdout } = await timed(['qemu-img', 'map', '--output=json', '-f', 'raw', image])
  const extents = (JSON.parse(stdout) as Extent[]).filter(({ zero }) => !zero)
  const [from, to] = [await open(image, 'r'), await open(target, 'w')]
  try {
    const piece = Buffer.allocUnsafe(PIECE_BYTES)
    let at = 0
    for (const { start, length } of extents) {
      for (let done = 0; done < length && at < bytesMax;) {
        const bytes = Math.min(PIECE_BYTES, length - done, bytesMax - at)
        await from.read(piece, 0, bytes, start + done)
        await to.write(piece, 0, bytes, at)
        done += bytes
        at += bytes
      }
    }
    return at
  } finally {
    await from.close()
    await to.close()
  }
}

/**
 * A sparse image with that much data in runs of 1 MiB, evenly all over it. No two chunks are alike, and each can be
 * compressed to about half.
 */
export async function madeUp(target: string, sizeBytes: number, dataBytes: number): Promise<void> {
  const handle = await open(target, 'w')
  try {
    await handle.truncate(sizeBytes)
    const runs = Math.floor(dataBytes / MIB)
    const step = Math.floor(sizeBytes / runs / MIB) * MIB
    const stream = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16))
    const zeros = Buffer.alloc(MIB)
    for (let run = 0; run < runs; run++) {
      const data = stream.update(zeros)
      for (let at = 0; at < MIB; at += CHUNK_BYTES) {
        data.fill('compressible ', at + CHUNK_BYTES / 2, at + CHUNK_BYTES)
      }
      await handle.write(data, 0, MIB, run * step)
    }
  } finally {
    await handle.close()
  }
}
