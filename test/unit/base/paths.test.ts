import { chmod, lstat, mkdir, mkdtemp, readlink, rename, rm, stat, symlink } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test, { type Assert } from 'brittle'
import { SOCKET_PATH_BYTES_MAX } from '../../../lib/base/limits.ts'
import {
  openHome,
  parcelDirectory,
  parcelRunDirectory,
  resolveHome,
  RUN_NAME_BYTES_MAX
} from '../../../lib/base/paths.ts'

const ID = Buffer.alloc(32, 0xab)

test('which home', (t) => {
  t.is(resolveHome('/a/b', { HYPERPARCEL_HOME: '/c' }), '/a/b')
  t.is(resolveHome('b', {}), path.resolve('b'))
  t.is(resolveHome(undefined, { HYPERPARCEL_HOME: '/c', XDG_DATA_HOME: '/d' }), '/c')
  t.is(resolveHome(undefined, { XDG_DATA_HOME: '/d', HOME: '/h' }), '/d/hyperparcel')
  t.is(resolveHome(undefined, { XDG_DATA_HOME: 'd', HOME: '/h' }), '/h/.local/share/hyperparcel')
  t.is(resolveHome(undefined, { HOME: '/h' }), '/h/.local/share/hyperparcel')
})

test('a new home is private', async (t) => {
  const base = await temporary(t)
  const paths = await openHome(path.join(base, 'deep/er/home'), {})
  for (const directory of [paths.home, paths.keys, paths.store, paths.parcels, paths.run]) {
    t.is((await stat(directory)).mode & 0o777, 0o700, directory)
  }
  t.alike(await openHome(paths.home, {}), paths, 'again: the same')
  t.ok(parcelDirectory(paths, ID).startsWith(paths.parcels))
})

test('a directory that was there keeps its mode', async (t) => {
  const base = await temporary(t)
  await chmod(base, 0o755)
  await openHome(base, {})
  t.is((await stat(base)).mode & 0o777, 0o755)
})

test('a home that cannot be one', async (t) => {
  await t.exception(openHome('/dev/null/home', {}), /cannot be used/)
})

test('every socket path fits, whatever the home', async (t) => {
  for (const length of [30, 54, 55, 56, 60, 107, 200]) {
    const base = await temporary(t)
    const home = path.join(base, 'h'.repeat(Math.max(1, length - base.length - 1)))
    const paths = await openHome(home, {})
    t.teardown(() => rm(paths.run, { recursive: true, force: true }))
    const longest = path.join(parcelRunDirectory(paths, ID), 's'.repeat(RUN_NAME_BYTES_MAX))
    t.ok(longest.length <= SOCKET_PATH_BYTES_MAX, `${length}: ${longest.length}`)
  }
})

test('a long home: a link to a private directory, the same for every process', async (t) => {
  const { home, runtime } = await longHome(t)
  const paths = await openHome(home, { XDG_RUNTIME_DIR: runtime })
  t.is(path.dirname(paths.run), runtime)
  t.is(await readlink(path.join(home, 'run')), paths.run)
  t.is((await stat(paths.run)).mode & 0o777, 0o700)
  t.is((await openHome(home, {})).run, paths.run, 'the link decides, not the environment')

  const other = await openHome(`${home}2`, { XDG_RUNTIME_DIR: runtime })
  t.not(other.run, paths.run, 'another home has another one')

  await rm(paths.run, { recursive: true })
  t.is((await openHome(home, {})).run, paths.run, 'made again after a restart of the machine')
  t.ok((await lstat(paths.run)).isDirectory())

  await rm(runtime, { recursive: true })
  const moved = await openHome(home, {})
  t.teardown(() => rm(moved.run, { recursive: true, force: true }))
  t.is(path.dirname(moved.run), '/tmp', 'or elsewhere when that place is gone')
  t.is(await readlink(path.join(home, 'run')), moved.run)
})

test('a home that was moved makes sockets of its own', async (t) => {
  const { home, runtime } = await longHome(t)
  const env = { XDG_RUNTIME_DIR: runtime }
  const before = await openHome(home, env)
  await rename(home, `${home}-moved`)
  const after = await openHome(`${home}-moved`, env)
  t.not(after.run, before.run)
  t.is((await openHome(home, env)).run, before.run, 'no clash with a new home at the old place')
})

test('a directory that somebody prepared is refused', async (t) => {
  const { home, runtime } = await longHome(t)
  const env = { XDG_RUNTIME_DIR: runtime }
  const { run } = await openHome(home, env)
  await chmod(run, 0o755)
  await t.exception(openHome(home, env), /open to others/)
  await rm(run, { recursive: true })
  const trap = path.join(runtime, 'trap')
  await mkdir(trap, { mode: 0o700 })
  await symlink(trap, run)
  await t.exception(openHome(home, env), /belongs to somebody else/, 'a link')
})

async function longHome(t: Assert): Promise<{ home: string; runtime: string }> {
  const base = await temporary(t)
  const runtime = await mkdtemp('/tmp/hpr-')
  t.teardown(() => rm(runtime, { recursive: true, force: true }))
  return { home: path.join(base, 'a-rather-long-name-'.repeat(5)), runtime }
}

async function temporary(t: Assert): Promise<string> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'hpp-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }), { force: true })
  return directory
}
