/**
 * Where an export is written: a file beside the one that was named, put in its place when it is whole. What a disk or a
 * guest's RAM holds is for the user alone: mode 0600, unless a file with another mode is replaced.
 */
import { access, chmod, constants, open, realpath, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../base/errors.ts'

export class ImageTarget {
  readonly partial: string
  readonly #file: string

  private constructor(file: string) {
    this.#file = file
    this.partial = `${file}.part`
  }

  /** Follows a link to the file itself. Rejects with `EXPORT_FAILED` where nothing can be written. */
  static async create(named: string): Promise<ImageTarget> {
    const found = await stat(named).catch(() => null)
    const file = found === null ? named : await realpath(named)
    const problem = await problemWith(file, found)
    if (problem !== null) {
      throw new HyperparcelError('EXPORT_FAILED', problem, {
        hint: 'Name a file in a directory that exists and where you may write.'
      })
    }
    const target = new ImageTarget(file)
    const mode = found === null ? 0o600 : found.mode & 0o777
    try {
      await (await open(target.partial, 'w', 0o600)).close()
      await chmod(target.partial, mode)
    } catch (cause) {
      const reason =
        (cause as NodeJS.ErrnoException).code === 'ENOSPC' ? 'the disk is full' : 'not writable'
      throw new HyperparcelError('EXPORT_FAILED', `${path.dirname(file)}: ${reason}`, { cause })
    }
    return target
  }

  async bytesWritten(): Promise<number> {
    return (await stat(this.partial)).blocks * 512
  }

  /** What was written is whole. */
  async finish(): Promise<void> {
    await rename(this.partial, this.#file)
  }

  /** Removes what was not finished. */
  async close(): Promise<void> {
    await rm(this.partial, { force: true })
  }
}

async function problemWith(
  file: string,
  found: Awaited<ReturnType<typeof stat>> | null
): Promise<string | null> {
  const folder = path.dirname(file)
  const directory = await stat(folder).catch(() => null)
  if (directory?.isDirectory() !== true) return `${folder} is not a directory`
  if (found?.isDirectory() === true) return `${file} is a directory`
  if (found !== null && !found.isFile()) return `${file} is not a regular file`
  const writable = async (at: string) =>
    access(at, constants.W_OK).then(
      () => true,
      () => false
    )
  if (!(await writable(folder))) return `${folder} is not writable`
  if (found !== null && !(await writable(file))) return `${file} is write-protected`
  return null
}
