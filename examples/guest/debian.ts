/**
 * Builds a guest with a real Debian 12 userland: systemd, apt, a C compiler, on an ext4 disk of 4 GiB, sparse. Kernel and
 * initramfs are those of the small guest beside it. Packages come from where this machine's apt gets its own.
 *
 * Works as root, and for ordinary users who have subordinate ids (package uidmap). Kept and shared by its users, as the
 * small guest: never write to it.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { buildGuest, type Guest } from './build.ts'
import { DEBIAN_FILES, MAKE_DISK } from './debian-files.ts'
import { KERNEL_APPEND } from './files.ts'
import { buildOnce, kernelPackage, versionsKey } from './packages.ts'

const run = promisify(execFile)

/** Bytes of the guest's disk, sparse; about 0.6 GB hold data. */
export const DEBIAN_DISK_BYTES = 4 * 1024 * 1024 * 1024

/** Raise it when the recipe changes, so that kept guests are not used any more. */
const RECIPE = 1
const SUITE = 'bookworm'
const DISK_UUID = '6d0a2f4e-7c35-4b52-9b0e-3f6f0b8f2d11'

/** On top of Debian's essential packages. */
const PACKAGES = [
  'systemd-sysv',
  'systemd',
  'dbus',
  'udev',
  'kmod',
  'iproute2',
  'procps',
  'qemu-guest-agent',
  'bsdextrautils',
  'gcc',
  'gcc-12',
  'libc6-dev',
  'binutils',
  'make'
]

const HINT = `It needs the package lists of Debian 12 (apt-get update) and the package mmdebstrap, and, unless you are root, the package uidmap.`

/** Builds the guest below `directory`, or finds it there; `say` gets what happens meanwhile. `GUEST_BUILD_FAILED`. */
export async function buildDebianGuest(
  directory: string,
  say: (text: string) => void = () => {}
): Promise<Guest> {
  const small = await buildGuest(directory)
  const target = await buildOnce({
    directory,
    name: async () =>
      `debian-${await versionsKey(RECIPE, [await kernelPackage(), 'libc6', ...PACKAGES])}`,
    build: (work, out) => build(work, path.join(out, 'disk.ext4'), say),
    hint: HINT
  })
  return { ...small, disk: path.join(target, 'disk.ext4'), append: KERNEL_APPEND }
}

async function build(work: string, disk: string, say: (text: string) => void): Promise<void> {
  await chmod(work, 0o755) // mkdtemp's mode keeps out the users of a name space
  say(`a Debian 12 userland is made, once: some minutes`)
  const userland = path.join(work, 'userland.tar')
  await bootstrap(userland, say)
  const over = path.join(work, 'over')
  await writeOver(over)
  await unpackModules(work, over)
  say('its disk is made')
  const script = path.join(work, 'make-disk')
  await writeFile(script, MAKE_DISK)
  const [tree, size] = [path.join(work, 'tree'), String(DEBIAN_DISK_BYTES)]
  await asRoot(['sh', '-e', script, tree, userland, over, disk, size, DISK_UUID])
}

/** All packages, unpacked and configured, as a tar file. */
async function bootstrap(file: string, say: (text: string) => void): Promise<void> {
  const include = `--include=${PACKAGES.join(',')}`
  const child = spawn(
    'mmdebstrap',
    ['--variant=minbase', '--format=tar', include, SUITE, file, '-'],
    { stdio: ['pipe', 'ignore', 'pipe'], env: environment() }
  )
  const closed = once(child, 'close')
  child.stdin.on('error', () => {})
  child.stdin.end(await sources())
  const last: string[] = []
  for await (const line of createInterface({ input: child.stderr })) {
    last.push(line)
    if (last.length > 10) last.shift()
    const step = /^I: (.*?)\.*$/.exec(line)?.[1]
    if (step !== undefined) say(`  ${step}`)
  }
  const [code] = (await closed) as [number | null]
  if (code !== 0) throw new Error(`mmdebstrap failed: ${last.join('\n')}`)
}

/** This machine's sources of Debian 12, in apt's one-line form. */
async function sources(): Promise<string> {
  const format = '$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)'
  const { stdout } = await run('apt-get', [
    'indextargets',
    '--format',
    format,
    'Created-By: Packages'
  ])
  const lines = new Set<string>()
  for (const line of stdout.trim().split('\n')) {
    const [origin, release, component, uri] = line.split('|')
    if (origin !== 'Debian' || component !== 'main') continue
    if (new RegExp(`^${SUITE}(-updates|-security)?$`).test(release)) {
      lines.add(`deb ${uri} ${release} ${component}\n`)
    }
  }
  if (lines.size === 0) throw new Error(`apt has no source of ${SUITE}`)
  return [...lines].join('')
}

async function writeOver(over: string): Promise<void> {
  for (const { name, content, mode } of DEBIAN_FILES) {
    const file = path.join(over, name)
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, content, { mode: mode ?? 0o644 })
  }
}

/** The kernel itself stays outside, as for every parcel that names one. */
async function unpackModules(work: string, over: string): Promise<void> {
  await run('apt-get', ['download', await kernelPackage()], { cwd: work })
  const name = (await readdir(work)).find((file) => file.endsWith('.deb'))
  if (name === undefined) throw new Error('apt downloaded no kernel')
  const kernel = path.join(work, 'kernel')
  await run('dpkg', ['-x', path.join(work, name), kernel])
  await mkdir(path.join(over, 'usr/lib'), { recursive: true })
  await run('mv', [path.join(kernel, 'lib/modules'), path.join(over, 'usr/lib/modules')])
}

/** As root, or as the root of a name space that knows the user's subordinate ids. */
async function asRoot(command: string[]): Promise<void> {
  const through =
    process.getuid?.() === 0 ? [] : ['unshare', '--user', '--map-root-user', '--map-auto']
  const [program, ...args] = [...through, ...command]
  await run(program, args, { env: environment() })
}

function environment(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C.UTF-8' }
}
