/**
 * Runs before `npm test`, `npm run demo` and `npm run bench`: packages of npm and of Debian, then the build.
 * Plain JavaScript with no dependency, since it runs before there is any. Says what it does on stderr, and
 * nothing when there is nothing to do.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, lstatSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'

const ROOT = path.dirname(import.meta.dirname)
const NODE_MIN = [20, 19]
const LOCK = 'npm-shrinkwrap.json'
const SOURCES = ['bin', 'lib', 'test', 'examples', 'tsconfig.json']
const BUILD_STAMP = 'dist/.built'

/** Command, Debian package, and what does not work without it; `null` where nothing works. */
const PROGRAMS = [
  ['qemu-system-x86_64', 'qemu-system-x86', null],
  ['qemu-img', 'qemu-utils', null],
  ['nbdfuse', 'libnbd-bin', null],
  ['fusermount3', 'fuse3', null],
  ['bwrap', 'bubblewrap', null],
  ['busybox', 'busybox-static', null],
  ['mkfs.ext4', 'e2fsprogs', null],
  ['cpio', 'cpio', null],
  ['nbdinfo', 'libnbd-bin', 'tests with NBD clients'],
  ['nbdcopy', 'libnbd-bin', 'tests with NBD clients'],
  ['nbdsh', 'python3-libnbd', 'tests with NBD clients'],
  ['nbdkit', 'nbdkit', 'tests with NBD clients'],
  ['flock', 'util-linux', null],
  ['prlimit', 'util-linux', null],
  ['fallocate', 'util-linux', null],
  ['fio', 'fio', 'the block benchmark and tests with fio'],
  ['restic', 'restic', 'the benchmark of imports and suspends'],
  ['borg', 'borgbackup', 'the benchmark of imports and suspends'],
  ['casync', 'casync', 'the benchmark of imports and suspends'],
  ['zstd', 'zstd', 'the benchmark of imports and suspends'],
  ['tcpdump', 'tcpdump', 'the search for plaintext in the traffic'],
  ['ip', 'iproute2', 'tests over a slow network'],
  ['vde_switch', 'vde2', 'the lab, and its test'],
  ['iperf3', 'iperf3', 'the measure of a link in the lab'],
  ['mmdebstrap', 'mmdebstrap', 'guest with a whole Debian, for the soak and the lab']
]

process.chdir(ROOT)
checkNode()
// Whoever installed the package has no sources, and its packages already.
const sources = existsSync('tsconfig.json')
if (sources && existsSync(LOCK)) installPackages()
installPrograms()
if (sources) build()

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1])) return
  fail(`Node.js ${NODE_MIN.join('.')} or newer is needed, this is ${process.versions.node}.`)
}

function installPackages() {
  if (packagesMatch()) return
  if (lstatSync('node_modules', { throwIfNoEntry: false })?.isSymbolicLink()) {
    say('node_modules is a link and differs from the lock file: run npm ci where it points to.')
    return
  }
  say('Installing packages: npm ci')
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])
}

/** Is every package of the lock file installed in that version? Optional ones may be missing: other platforms'. */
function packagesMatch() {
  const wanted = readJson(LOCK)?.packages ?? {}
  const installed = readJson('node_modules/.package-lock.json')?.packages
  if (installed === undefined) return false
  return Object.entries(wanted).every(([where, { version, optional }]) => {
    if (where === '') return true
    return where in installed ? installed[where].version === version : optional === true
  })
}

function installPrograms() {
  const missing = PROGRAMS.filter(([command]) => !onPath(command))
  if (missing.length === 0) return
  const packages = [...new Set(missing.map(([, name]) => name))]
  const install = ['apt-get', 'install', '-y', '--no-install-recommends', ...packages]
  if (process.getuid?.() === 0 && onPath('apt-get')) {
    say(`Installing Debian packages: ${packages.join(' ')}`)
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    spawnSync('apt-get', ['update', '-qq'], { stdio: ['ignore', 2, 2], env })
    spawnSync(install[0], [...install.slice(1), '-qq'], { stdio: ['ignore', 2, 2], env })
  }
  const needed = missing.filter(([command, , without]) => !onPath(command) && without === null)
  const wished = missing.filter(([command, , without]) => !onPath(command) && without !== null)
  for (const [command, name, without] of wished) {
    say(`${command} is missing (Debian package ${name}): no ${without}.`)
  }
  if (needed.length > 0) {
    const commands = needed.map(([command]) => command).join(', ')
    fail(`Missing: ${commands}. Type this, then try again:\n\n  sudo ${install.join(' ')}\n`)
  }
  if (wished.length > 0) say(`To have them: sudo ${install.join(' ')}`)
}

/** Where something changed since the last build that succeeded. */
function build() {
  const state = fingerprint()
  if (existsSync(BUILD_STAMP) && readFileSync(BUILD_STAMP, 'utf8') === state) return
  run(path.join('node_modules', '.bin', 'tsc'), [])
  writeFileSync(BUILD_STAMP, state)
}

function fingerprint() {
  const hash = createHash('sha256')
  for (const source of SOURCES) {
    if (!existsSync(source)) continue
    const below = statSync(source).isDirectory()
      ? readdirSync(source, { recursive: true }).map((name) => path.join(source, name))
      : [source]
    for (const file of below.toSorted()) {
      const { size, mtimeMs } = statSync(file, { throwIfNoEntry: false }) ?? {}
      if (file.endsWith('.ts') || file === source) hash.update(`${file} ${size} ${mtimeMs}\n`)
    }
  }
  return hash.digest('hex')
}

function onPath(command) {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin']
  return folders.some((folder) => folder !== '' && existsSync(path.join(folder, command)))
}

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}

/** Its output goes to stderr: stdout belongs to what runs after this. */
function run(command, args) {
  try {
    execFileSync(command, args, { stdio: ['ignore', 2, 2] })
  } catch (err) {
    fail(`${path.basename(command)} ${args.join(' ')} failed${err.code ? `: ${err.message}` : ''}`)
  }
}

function say(text) {
  process.stderr.write(`setup: ${text}\n`)
}

function fail(text) {
  say(text)
  process.exit(1)
}
