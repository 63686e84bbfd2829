/** What guests are made of: Debian packages, and a folder in which each guest is built once. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { HyperparcelError } from '../../lib/base/errors.ts'
import { openCache } from './cache.ts'

const run = promisify(execFile)

export interface BuildSteps {
  /** Where guests are kept. */
  directory: string
  /** Of the guest's folder in there: changes with everything that the guest depends on. */
  name(): Promise<string>
  /** Fills the folder `out`; `work` is free to use. */
  build(work: string, out: string): Promise<void>
  /** What a machine needs for it. */
  hint: string
}

/**
 * Returns the guest's folder. It is built aside and moved into place whole, so that two builders do not meet.
 * Rejects with `GUEST_BUILD_FAILED`, or `GUEST_CACHE_UNUSABLE`.
 */
export async function buildOnce({ directory, name, build, hint }: BuildSteps): Promise<string> {
  await openCache(directory)
  try {
    const target = path.join(directory, await name())
    if (existsSync(target)) return target
    const work = await mkdtemp(path.join(directory, 'build-'))
    try {
      const out = path.join(work, 'out')
      await mkdir(out)
      await build(work, out)
      await rename(out, target).catch((err: NodeJS.ErrnoException) => {
        if (err.code !== 'ENOTEMPTY' && err.code !== 'EEXIST') throw err
      })
    } finally {
      await rm(work, { recursive: true, force: true })
    }
    return target
  } catch (err) {
    const why = err instanceof Error ? err.message : String(err)
    throw new HyperparcelError('GUEST_BUILD_FAILED', `Cannot build the guest: ${why}`, {
      hint,
      cause: err
    })
  }
}

/** Debian's newest kernel for virtual machines. */
export async function kernelPackage(): Promise<string> {
  const { stdout } = await run('apt-cache', ['depends', 'linux-image-cloud-amd64'])
  const found = /Depends: (linux-image-\S+)/.exec(stdout)?.[1]
  if (found === undefined) throw new Error('apt knows no linux-image-cloud-amd64')
  return found
}

/** Changes with the recipe and the versions of these packages: their file names hold them. */
export async function versionsKey(recipe: number | string, packages: string[]): Promise<string> {
  const { stdout } = await run('apt-get', ['download', '--print-uris', ...packages])
  const names = [...stdout.matchAll(/\/([^/']+\.deb)'/g)].map((match) => match[1]).sort()
  return createHash('sha256')
    .update(`${recipe}\n${names.join('\n')}`)
    .digest('hex')
    .slice(0, 16)
}
