/**
 * What a test needs from the machine. A test that lacks something says so and ends; under `CI=true` it fails,
 * so that nothing is left untested there without anybody noticing.
 */
import { accessSync, constants, existsSync } from 'node:fs'
import path from 'node:path'
import type { Assert } from 'brittle'

/** The runner (`test/run.ts`) counts a test with a comment that starts with this as skipped. */
export const SKIPPED = 'skipped:'

interface Requirement {
  met(): boolean
  /** What is missing and how to get it. */
  missing: string
}

const REQUIREMENTS = {
  root: { met: () => process.getuid?.() === 0, missing: 'root' },
  fuse: {
    met: () => writable('/dev/fuse') && onPath('fusermount3') && onPath('nbdfuse'),
    missing: 'access to /dev/fuse, and nbdfuse and fusermount3 (apt-get install libnbd-bin fuse3)'
  },
  qemu: program('qemu-system-x86_64', 'qemu-system-x86'),
  'qemu-tools': programs(['qemu-img', 'qemu-io', 'qemu-nbd'], 'qemu-utils'),
  'nbd-tools': programs(['nbdinfo', 'nbdcopy'], 'libnbd-bin'),
  nbdkit: program('nbdkit', 'nbdkit'),
  nbdsh: program('nbdsh', 'python3-libnbd'),
  fio: program('fio', 'fio'),
  /** What the benchmarks measure us against. */
  archivers: programs(['restic', 'borg', 'casync', 'zstd'], 'restic borgbackup casync zstd'),
  bubblewrap: program('bwrap', 'bubblewrap'),
  busybox: program('busybox', 'busybox-static'),
  tcpdump: program('tcpdump', 'tcpdump'),
  iproute: program('ip', 'iproute2'),
  vde: programs(['vde_switch', 'wirefilter'], 'vde2'),
  'apt-get': program('apt-get', 'apt'),
  e2fsprogs: program('mkfs.ext4', 'e2fsprogs')
} satisfies Record<string, Requirement>

export type RequirementName = keyof typeof REQUIREMENTS

/** True when all are here. Otherwise the test was marked as skipped (failed under `CI=true`) and should return. */
export function need(t: Assert, ...names: RequirementName[]): boolean {
  const missing = names.map((name) => REQUIREMENTS[name]).filter((r) => !r.met())
  if (missing.length === 0) return true
  const reason = `needs ${missing.map((r) => r.missing).join('; ')}`
  if (process.env['CI'] === 'true') t.fail(reason)
  else t.comment(`${SKIPPED} ${reason}`)
  return false
}

function program(name: string, debianPackage: string): Requirement {
  return programs([name], debianPackage)
}

function programs(names: string[], debianPackage: string): Requirement {
  return {
    met: () => names.every(onPath),
    missing: `${names.join(', ')} (apt-get install ${debianPackage})`
  }
}

function onPath(name: string): boolean {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin']
  return folders.some((folder) => folder !== '' && existsSync(path.join(folder, name)))
}

function writable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
}
