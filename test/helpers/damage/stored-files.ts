/** Damage to files of a device that is off. */
import { open, readdir } from 'node:fs/promises'
import path from 'node:path'
import type { Device } from '../devices.ts'

/** Files of that name below a folder of its home. */
export async function files(device: Device, folder: string, pattern: RegExp): Promise<string[]> {
  const entries = await readdir(path.join(device.home, folder), {
    recursive: true,
    withFileTypes: true
  })
  return entries
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map((entry) => path.join(entry.parentPath, entry.name))
}

/** Inverts 16 bytes in the middle of every `step` bytes. */
export async function damage(file: string, step: number): Promise<void> {
  const handle = await open(file, 'r+')
  try {
    const { size } = await handle.stat()
    for (let at = Math.floor(step / 2); at + 16 <= size; at += step) {
      const bytes = Buffer.alloc(16)
      await handle.read(bytes, 0, 16, at)
      for (let i = 0; i < 16; i++) bytes[i] ^= 0xff
      await handle.write(bytes, 0, 16, at)
    }
  } finally {
    await handle.close()
  }
}
