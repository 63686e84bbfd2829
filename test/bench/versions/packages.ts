/** A disk with Debian packages in two versions, `old` and `new`, as a security update brings them. */
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { timed } from '../parts/command.ts'

/** Those of them that Debian has in one version only are installed twice. */
const PACKAGES = [
  'libpython3.11-minimal',
  'libpython3.11-stdlib',
  'python3.11-minimal',
  'git',
  'openssl',
  'libssl3',
  'linux-libc-dev'
]
const DISK_BYTES = 256 * 1024 * 1024

/** A raw ext4 image. */
export async function packagesDisk(directory: string): Promise<string> {
  const tree = path.join(directory, 'debs')
  const disk = path.join(directory, 'debs.ext4')
  for (const name of PACKAGES) {
    const versions = await versionsOf(name)
    await download(path.join(tree, 'old'), `${name}=${versions[0]}`)
    await download(path.join(tree, 'new'), `${name}=${versions.at(-1)!}`)
  }
  await timed(['truncate', '-s', String(DISK_BYTES), disk])
  const bin = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`
  await timed(['mkfs.ext4', '-q', '-F', '-b', '4096', '-d', tree, disk], { env: { PATH: bin } })
  await rm(tree, { recursive: true })
  return disk
}

/** What apt can get, oldest first. */
async function versionsOf(name: string): Promise<string[]> {
  const { stdout } = await timed(['apt-cache', 'madison', name])
  const versions = stdout.split('\n').flatMap((line) => {
    const [, version, source] = line.split('|').map((part) => part.trim())
    return source?.endsWith('Packages') ? [version] : []
  })
  if (versions.length === 0) throw new Error(`apt knows no ${name}: apt-get update`)
  return [...new Set(versions)].reverse() // madison sorts, newest first
}

async function download(directory: string, what: string): Promise<void> {
  await mkdir(directory, { recursive: true })
  await timed(['apt-get', 'download', what], { cwd: directory })
}
