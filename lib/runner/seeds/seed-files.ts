/** The regular files of a seed: one image, or all that is below a directory; each cut into chunks from its start. */
import { opendir, stat } from 'node:fs/promises'
import path from 'node:path'
import { CHUNK_BYTES } from '../../base/limits.ts'

/** More of them are left out. */
export const SEED_FILES_MAX = 200_000
/** Numbers of chunks have 28 bits in an index: 1 TiB. */
export const SEED_CHUNKS_MAX = 2 ** 28

export interface SeedFile {
  path: string
  size: number
  mtimeMs: number
  inode: number
  /** Number of its first chunk in the seed. */
  first: number
}

/** Symbolic links are not followed. `whole` is false where limits left something out. */
export async function seedFiles(root: string): Promise<{ files: SeedFile[]; whole: boolean }> {
  const files: SeedFile[] = []
  let next = 0
  const take = async (file: string): Promise<boolean> => {
    const { size, mtimeMs, ino } = await stat(file)
    const chunks = Math.ceil(size / CHUNK_BYTES)
    if (files.length === SEED_FILES_MAX || next + chunks > SEED_CHUNKS_MAX) return false
    if (chunks > 0) files.push({ path: file, size, mtimeMs, inode: ino, first: next })
    next += chunks
    return true
  }
  if ((await stat(root)).isFile()) return { whole: await take(root), files }
  const folders = [root]
  while (folders.length > 0) {
    const folder = folders.pop()!
    const directory = await opendir(folder).catch(() => null) // not for us to read, or gone
    if (directory === null) continue
    for await (const entry of directory) {
      const at = path.join(folder, entry.name)
      if (entry.isDirectory()) folders.push(at)
      else if (entry.isFile() && !(await take(at).catch(() => true))) {
        return { files, whole: false }
      }
    }
  }
  return { files, whole: true }
}

/** Is it the file that was indexed, as far as its name plates tell? */
export function isSame(
  file: SeedFile,
  now: { size: number; mtimeMs: number; ino: number }
): boolean {
  return now.size === file.size && now.mtimeMs === file.mtimeMs && now.ino === file.inode
}
