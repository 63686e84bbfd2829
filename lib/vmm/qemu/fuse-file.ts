/**
 * An NBD export as a file, by `nbdfuse`, mounted over a plain file of that name.
 *
 * Invariants of the memory file: pages stay in the kernel's cache (`kernel_cache`), also when it is opened again; a
 * failed fsync is final; and this process holds a descriptor of it during `sync()` only. A child that is forked while
 * we hold one closes its copy, for which the kernel writes dirty pages back, to an NBD server in this process, which
 * waits in fork(): a deadlock. So nothing may be spawned during a sync (`vm.ts` queues the two).
 *
 * `close()` kills nbdfuse first: the kernel then answers every waiting fault with an error, so no process stays
 * unkillable, and dirty pages are dropped and not written back.
 */
import { access, constants, open, readFile, rm, stat, writeFile } from 'node:fs/promises'
import ReadyResource from 'ready-resource'
import { HyperparcelError } from '../../base/errors.ts'
import { GuardedProcess } from './guarded-process.ts'
import { isMountPoint, unmount } from './mounts.ts'

const START_TIMEOUT_MS = 10_000
const POLL_MS = 2
const KILL_TIMEOUT_MS = 5000

export interface FuseFileOptions {
  /** Where it appears; its directory exists, has no symbolic links, and is private. */
  file: string
  /** Unix socket of the NBD server. */
  socket: string
  readOnly: boolean
  /** Read around a page fault, in KiB, where this user may set it. Linux' default is 128. */
  readAheadKb: number
}

export class FuseFile extends ReadyResource {
  readonly file: string
  readonly #options: FuseFileOptions
  #process: GuardedProcess | null = null
  #bytes = 0
  #tuned = false
  #syncError: Error | null = null

  constructor(options: FuseFileOptions) {
    super()
    this.file = options.file
    this.#options = options
  }

  /** Size of the export. */
  get bytes(): number {
    return this.#bytes
  }

  /** Whether the kernel took our limits; an ordinary user may not set them. */
  get tuned(): boolean {
    return this.#tuned
  }

  /** Of an ordinary user this changes nothing. */
  async setReadAhead(kb: number): Promise<void> {
    if (this.closing !== null || !this.#tuned) return
    const { dev } = await stat(this.file)
    await tune(dev, kb)
  }

  /** Writes dirty pages to the export. After a failure it fails always: the kernel forgets what it could not write. */
  async sync(): Promise<void> {
    if (this.#syncError !== null) throw this.#syncError
    try {
      const file = await open(this.file, 'r+')
      try {
        await file.sync()
      } finally {
        await file.close()
      }
    } catch (err) {
      this.#syncError = new HyperparcelError(
        'MEMORY_SYNC_FAILED',
        `Guest memory could not be written back: ${(err as Error).message}`,
        { hint: 'This VM can make no more version with memory; power it off to keep its disk.' }
      )
      throw this.#syncError
    }
  }

  protected override async _open(): Promise<void> {
    await checkFuse()
    const { file, socket, readOnly } = this.#options
    if (await isMountPoint(file)) await unmount(file) // left by a process that was killed
    const pidFile = `${file}.pid`
    await rm(pidFile, { force: true })
    await writeFile(file, '', { mode: 0o600 })
    const flags = readOnly ? ['-r'] : []
    // auto_unmount: a helper of FUSE's takes the mount away when we are killed
    const options = ['-o', 'kernel_cache', '-o', 'auto_unmount']
    const args = [...flags, '-P', pidFile, ...options, file, '--unix', socket]
    this.#process = new GuardedProcess('nbdfuse', args)
    try {
      await this.#mounted(pidFile)
      const { dev, size } = await stat(file)
      this.#bytes = size
      this.#tuned = await tune(dev, this.#options.readAheadKb)
    } catch (err) {
      await this._close()
      throw err
    }
  }

  protected override async _close(): Promise<void> {
    await this.#process?.kill(KILL_TIMEOUT_MS)
    const unmounted = await unmount(this.file)
    await rm(`${this.file}.pid`, { force: true })
    if (unmounted) await rm(this.file, { force: true })
  }

  async #mounted(pidFile: string): Promise<void> {
    const end = performance.now() + START_TIMEOUT_MS
    while ((await readFile(pidFile).catch(() => '')).length === 0) {
      if (this.#process!.exit !== null || performance.now() > end) {
        const said = this.#process!.message(2) || 'it did not answer in time'
        throw new HyperparcelError('FUSE_FAILED', `nbdfuse could not show ${this.file}: ${said}`, {
          hint: 'hyperparcel doctor checks FUSE.'
        })
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
  }
}

/** Rejects with `FUSE_UNAVAILABLE`, naming the fix. */
export async function checkFuse(): Promise<void> {
  try {
    await access('/dev/fuse', constants.R_OK | constants.W_OK)
  } catch (err) {
    const absent = (err as NodeJS.ErrnoException).code === 'ENOENT'
    const problem = absent ? 'There is no /dev/fuse' : 'This user may not open /dev/fuse'
    throw new HyperparcelError('FUSE_UNAVAILABLE', `${problem}: guest memory cannot be mapped`, {
      hint: absent
        ? 'Load the kernel module as root: modprobe fuse'
        : `As root: echo 'KERNEL=="fuse", MODE="0666"' > /etc/udev/rules.d/99-fuse.rules && udevadm trigger /dev/fuse (or, until the next start: chmod 666 /dev/fuse)`,
      cause: err
    })
  }
}

/**
 * FUSE mounts may use 1 % of the page cache for dirty pages, strictly: a guest that writes much would crawl. And a fault
 * reads 128 KiB around. Both are for root to change.
 */
async function tune(dev: number, readAheadKb: number): Promise<boolean> {
  const major = Math.floor(dev / 256) & 0xfff
  const minor = (dev & 0xff) | (Math.floor(dev / 0x1000) & 0xfff00)
  const directory = `/sys/class/bdi/${major}:${minor}`
  const wanted = { read_ahead_kb: readAheadKb, max_ratio: 100, strict_limit: 0 }
  const written = Object.entries(wanted).map(([name, value]) =>
    writeFile(`${directory}/${name}`, String(value)).then(
      () => true,
      () => false
    )
  )
  return (await Promise.all(written)).every(Boolean)
}
