/** Disk images for tests, and the tools that make, copy and compare them. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Random } from './random.ts'

const run = promisify(execFile)

/** A raw image of that size, random bytes at those places, holes elsewhere. */
export async function rawImage(
  file: string,
  sizeBytes: number,
  places: { offset: number; data: Buffer }[]
): Promise<string> {
  const handle = await open(file, 'w')
  try {
    await handle.truncate(sizeBytes)
    for (const { offset, data } of places) await handle.write(data, 0, data.length, offset)
  } finally {
    await handle.close()
  }
  return file
}

/** Random data all over an image, in pieces of up to 64 KiB that need not be aligned. */
export function scattered(random: Random, sizeBytes: number, count: number) {
  return Array.from({ length: count }, () => {
    const data = random.bytes(random.int(1, 65_536))
    return { offset: random.int(0, sizeBytes - data.length), data }
  })
}

/** Stdout. Rejects with what it wrote when it fails. */
export async function tool(command: string, ...args: string[]): Promise<string> {
  const { stdout } = await run(command, args, { maxBuffer: 64 * 1024 * 1024 })
  return stdout
}

/** Byte for byte the same to a guest, whatever the formats. */
export async function sameImage(a: string, b: string): Promise<boolean> {
  return tool('qemu-img', 'compare', a, b).then(
    (out) => out.includes('identical'),
    () => false
  )
}

export async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(file)) hash.update(piece as Buffer)
  return hash.digest('hex')
}

export async function bytesOnDisk(file: string): Promise<number> {
  return (await stat(file)).blocks * 512
}
