/**
 * Where a device keeps its things. Two homes on one machine are two devices.
 *
 *   <home>/            0700 when we make it; a directory that was there keeps its mode
 *     config.json      settings
 *     reserve          room for when the disk is full
 *     verified.json    what the last `verify` found
 *     keys/            device key, fleet keys
 *     store/           Corestore
 *     index/           dedup index
 *     parcels/<id>/    overlay and other local state of one parcel
 *     daemon.log       stderr of a daemon in the background
 *     run/             sockets and mount points, gone after a restart of the machine
 *
 * A Unix socket path has at most 107 bytes. Where `<home>/run` is too long for that, `run` is a symbolic link
 * to a short private directory under $XDG_RUNTIME_DIR or /tmp, named after a hash of the home. The link decides:
 * a process with another environment finds the same sockets.
 */
import { createHash } from 'node:crypto'
import { lstat, mkdir, readlink, realpath, symlink, unlink } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { HyperparcelError } from './errors.ts'
import { SOCKET_PATH_BYTES_MAX } from './limits.ts'

/** Bytes that a file name in a parcel's run directory may have, so that every socket path fits. */
export const RUN_NAME_BYTES_MAX = 24
const PARCEL_NAME_HEX = 12

export interface HomePaths {
  /** Absolute, without symbolic links. */
  home: string
  config: string
  keys: string
  store: string
  index: string
  /** Proofs of logs that were written twice. */
  contradictions: string
  parcels: string
  daemonLog: string
  /** The short one: use this, not `<home>/run`, for sockets. */
  run: string
  /** Where the daemon listens. */
  daemonSocket: string
}

/** `--home`, then $HYPERPARCEL_HOME, then $XDG_DATA_HOME/hyperparcel, then ~/.local/share/hyperparcel; absolute. */
export function resolveHome(option?: string, env: NodeJS.ProcessEnv = process.env): string {
  const named = option || env['HYPERPARCEL_HOME']
  if (named) return path.resolve(named)
  // The XDG base directory specification: a relative path is invalid and ignored.
  const data = env['XDG_DATA_HOME']
  const base = data && path.isAbsolute(data) ? data : path.join(userHome(env), '.local', 'share')
  return path.join(base, 'hyperparcel')
}

/**
 * The layout of that home; makes `home`, `keys`, `store`, `index`, `parcels` and `run` where they are missing,
 * all 0700. Rejects with `HOME_UNUSABLE` or `RUN_DIRECTORY_UNSAFE`.
 */
export async function openHome(
  directory: string,
  env: NodeJS.ProcessEnv = process.env
): Promise<HomePaths> {
  try {
    await mkdir(path.dirname(directory), { recursive: true })
    await makePrivate(directory)
    const home = await realpath(directory)
    for (const name of ['keys', 'store', 'index', 'parcels']) {
      await makePrivate(path.join(home, name))
    }
    return layout(home, await runDirectory(home, env))
  } catch (err) {
    if (err instanceof HyperparcelError) throw err
    throw new HyperparcelError(
      'HOME_UNUSABLE',
      `The home ${directory} cannot be used: ${(err as Error).message}`,
      { hint: 'Choose another directory with --home or HYPERPARCEL_HOME.', cause: err }
    )
  }
}

/** Local state of one parcel. `id` is the parcel's id, raw. Not created here. */
export function parcelDirectory(paths: HomePaths, id: Uint8Array): string {
  return path.join(paths.parcels, Buffer.from(id).toString('hex'))
}

/** Sockets and the mount of one parcel; names in it have at most `RUN_NAME_BYTES_MAX` bytes. Not created here. */
export function parcelRunDirectory(paths: HomePaths, id: Uint8Array): string {
  return path.join(paths.run, Buffer.from(id).toString('hex').slice(0, PARCEL_NAME_HEX))
}

function layout(home: string, run: string): HomePaths {
  return {
    home,
    config: path.join(home, 'config.json'),
    keys: path.join(home, 'keys'),
    store: path.join(home, 'store'),
    index: path.join(home, 'index'),
    contradictions: path.join(home, 'contradictions'),
    parcels: path.join(home, 'parcels'),
    daemonLog: path.join(home, 'daemon.log'),
    run,
    daemonSocket: path.join(run, 'daemon.sock')
  }
}

async function runDirectory(home: string, env: NodeJS.ProcessEnv): Promise<string> {
  const inHome = path.join(home, 'run')
  const longest = Buffer.byteLength(inHome) + 1 + PARCEL_NAME_HEX + 1 + RUN_NAME_BYTES_MAX
  if (longest <= SOCKET_PATH_BYTES_MAX) {
    const target = await readlink(inHome).catch(() => null)
    if (target !== null) await unlink(inHome) // the home was moved here from a longer path
    await makePrivate(inHome)
    return inHome
  }
  const name = `hyperparcel-${userId()}-${createHash('sha256').update(home).digest('hex').slice(0, 12)}`
  // Twice: somebody else may make the link between our look and our own attempt.
  for (let attempt = 0; attempt < 2; attempt++) {
    const target = await readlink(inHome).catch(() => null)
    if (target !== null && path.basename(target) === name && (await usable(target))) return target
    if (target !== null) await unlink(inHome)
    const short = await shortDirectory(name, env)
    const linked = await symlink(short, inHome).then(
      () => true,
      (err: NodeJS.ErrnoException) => {
        if (err.code === 'EEXIST') return false
        throw err
      }
    )
    if (linked) return short
  }
  throw new HyperparcelError('HOME_UNUSABLE', `${inHome} is in the way of a link to the sockets`, {
    hint: `Remove ${inHome} and try again.`
  })
}

/** Under $XDG_RUNTIME_DIR where it is set, short and there, else under /tmp. */
async function shortDirectory(name: string, env: NodeJS.ProcessEnv): Promise<string> {
  const runtime = env['XDG_RUNTIME_DIR']
  if (runtime && path.isAbsolute(runtime) && Buffer.byteLength(runtime) <= 24) {
    const short = path.join(runtime, name)
    if (await usable(short)) return short
  }
  const short = path.join('/tmp', name)
  await checkPrivate(short)
  return short
}

/** Is it a private directory, or could it be made one? False where its parent is missing, as after a restart of the machine. */
async function usable(target: string): Promise<boolean> {
  try {
    await checkPrivate(target)
    return true
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw err
  }
}

/** In a directory that others may write to: ours, a real directory, closed to others; made where it is missing. */
async function checkPrivate(directory: string): Promise<void> {
  await makePrivate(directory)
  const found = await lstat(directory)
  if (found.isDirectory() && found.uid === userId() && (found.mode & 0o077) === 0) return
  throw new HyperparcelError(
    'RUN_DIRECTORY_UNSAFE',
    `${directory} belongs to somebody else or is open to others`,
    { hint: 'Remove it, or choose a home with a shorter path.' }
  )
}

async function makePrivate(directory: string): Promise<void> {
  try {
    await mkdir(directory, { mode: 0o700 })
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'EEXIST') throw err
  }
}

function userHome(env: NodeJS.ProcessEnv): string {
  return env['HOME'] || os.homedir()
}

function userId(): number {
  return process.getuid?.() ?? 0
}
