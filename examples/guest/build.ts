/**
 * Builds a small real Linux guest from Debian packages, with no root and nothing installed: Debian's cloud
 * kernel, an initramfs of busybox and a few modules, and an ext4 disk with busybox and the QEMU guest agent.
 *
 * The result is kept and shared by its users, keyed by the versions of the packages: never write to it.
 * Needs `apt-get`, `dpkg`, `cpio`, `gzip` and `mkfs.ext4`.
 */
import { execFile } from 'node:child_process'
import { access, cp, mkdir, readdir, symlink, writeFile } from 'node:fs/promises'
import { constants } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { DISK_FILES, INITRAMFS_INIT, KERNEL_APPEND } from './files.ts'
import { copyModules } from './modules.ts'
import { buildOnce, kernelPackage, versionsKey } from './packages.ts'

const run = promisify(execFile)

/** Bytes of the guest's disk, sparse. */
export const GUEST_DISK_BYTES = 256 * 1024 * 1024

/** Raise it when the recipe changes, so that kept guests are not used any more. */
const RECIPE = 3

const PACKAGES = [
  'busybox-static',
  'qemu-guest-agent',
  'libc6',
  'libglib2.0-0',
  'libpcre2-8-0',
  'libnuma1',
  'libudev1',
  'liburing2'
]

/** Modules that the guest loads; what they depend on comes along. */
const MODULES = [
  'virtio_pci',
  'virtio_blk',
  'virtio_net',
  'virtio_console',
  'virtio_balloon',
  'virtio-rng',
  'ext4',
  'button',
  'evdev'
]

export interface Guest {
  /** A bzImage. */
  kernel: string
  initrd: string
  /** A raw ext4 image; copy it before writing to it. */
  disk: string
  /** The kernel's command line. */
  append: string
}

/** Builds the guest below `directory`, or finds it there. Rejects with `GUEST_BUILD_FAILED`. */
export async function buildGuest(directory: string): Promise<Guest> {
  const target = await buildOnce({
    directory,
    name: async () => `guest-${await versionsKey(RECIPE, [await kernelPackage(), ...PACKAGES])}`,
    build,
    hint: 'It needs Debian package lists (apt-get update), and the packages cpio and e2fsprogs.'
  })
  return {
    kernel: path.join(target, 'vmlinuz'),
    initrd: path.join(target, 'initrd.img'),
    disk: path.join(target, 'disk.ext4'),
    append: KERNEL_APPEND
  }
}

async function build(work: string, out: string): Promise<void> {
  const root = path.join(work, 'packages')
  await download([await kernelPackage(), ...PACKAGES], work, root)
  const kernel = (await readdir(path.join(root, 'boot'))).find((name) => /^vmlinuz-/.test(name))
  if (kernel === undefined) throw new Error('the kernel package holds no kernel')
  await cp(path.join(root, 'boot', kernel), path.join(out, 'vmlinuz'))
  await buildInitrd(root, path.join(work, 'initramfs'), path.join(out, 'initrd.img'))
  await buildDisk(root, path.join(work, 'disk'), path.join(out, 'disk.ext4'))
}

async function download(packages: string[], work: string, root: string): Promise<void> {
  await run('apt-get', ['download', ...packages], { cwd: work })
  await mkdir(root)
  for (const name of await readdir(work)) {
    if (name.endsWith('.deb')) await run('dpkg', ['-x', path.join(work, name), root])
  }
}

async function buildInitrd(root: string, tree: string, file: string): Promise<void> {
  await mkdir(path.join(tree, 'bin'), { recursive: true })
  for (const name of ['dev', 'proc', 'sys', 'disk', 'modules']) await mkdir(path.join(tree, name))
  await cp(path.join(root, 'bin/busybox'), path.join(tree, 'bin/busybox'))
  const order = await copyModules(
    path.join(root, 'lib/modules'),
    MODULES,
    path.join(tree, 'modules')
  )
  await writeFile(path.join(tree, 'modules/order'), `${order.join('\n')}\n`)
  await writeFile(path.join(tree, 'init'), INITRAMFS_INIT, { mode: 0o755 })
  const script = 'find . | cpio --quiet -o -H newc -R 0:0 | gzip -n -9 > "$1"'
  await run('sh', ['-ec', script, 'sh', file], { cwd: tree })
}

async function buildDisk(root: string, tree: string, file: string): Promise<void> {
  for (const name of [
    'bin',
    'dev',
    'etc',
    'proc',
    'root',
    'run',
    'sbin',
    'sys',
    'tmp',
    'var/run'
  ]) {
    await mkdir(path.join(tree, name), { recursive: true })
  }
  const busybox = path.join(root, 'bin/busybox')
  await cp(busybox, path.join(tree, 'bin/busybox'))
  for (const applet of (await run(busybox, ['--list'])).stdout.trim().split('\n')) {
    if (applet !== 'busybox') await symlink('busybox', path.join(tree, 'bin', applet))
  }
  for (const name of ['init', 'hwclock']) {
    await symlink('/bin/busybox', path.join(tree, 'sbin', name))
  }
  for (const name of ['lib', 'lib64', 'usr/lib/x86_64-linux-gnu', 'usr/sbin/qemu-ga']) {
    const source = path.join(root, name)
    if (!(await readable(source))) continue
    await cp(source, path.join(tree, name), {
      recursive: true,
      verbatimSymlinks: true,
      filter: (from) => !/\/(modules|gconv|systemd|udev)$/.test(from)
    })
  }
  for (const { name, content, mode } of DISK_FILES) {
    await mkdir(path.dirname(path.join(tree, name)), { recursive: true })
    await writeFile(path.join(tree, name), content, { mode: mode ?? 0o644 })
  }
  await run('truncate', ['-s', String(GUEST_DISK_BYTES), file])
  const options = ['-q', '-F', '-b', '4096', '-L', 'parcel', '-E', 'root_owner=0:0', '-d', tree]
  const bin = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`
  await run('mkfs.ext4', [...options, file], { env: { ...process.env, PATH: bin } })
}

async function readable(file: string): Promise<boolean> {
  return access(file, constants.R_OK).then(
    () => true,
    () => false
  )
}
