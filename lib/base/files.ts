/** Small durable files: written beside, synced, renamed, directory synced. A reader sees the old or the new, never half. */
import { open, rename, readFile } from 'node:fs/promises'
import path from 'node:path'

export async function writeFileDurable(
  file: string,
  data: string | Uint8Array,
  mode = 0o600
): Promise<void> {
  const temporary = `${file}.new`
  const handle = await open(temporary, 'w', mode)
  try {
    await handle.writeFile(data)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, file)
  await syncDirectory(path.dirname(file))
}

export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** The file's content, or null where there is none. */
export async function readFileIfPresent(file: string): Promise<Buffer | null> {
  try {
    return await readFile(file)
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw err
  }
}
