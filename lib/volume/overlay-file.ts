/**
 * The file operations that an overlay needs, as a port: a test records, tears and fails them. Data goes by
 * callbacks, not promises: it is the hot path.
 */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { open, rename, statfs, unlink } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../base/errors.ts'
import { syncDirectory } from '../base/files.ts'

export interface OverlayFile {
  /** Reads up to `length` bytes to buffer[at…]; fewer only at the end of the file. */
  pread(
    buffer: Buffer,
    at: number,
    length: number,
    position: number,
    done: (error: Error | null, bytes: number) => void
  ): void
  /** Writes all of it, or fails. */
  pwrite(
    buffer: Buffer,
    at: number,
    length: number,
    position: number,
    done: (error: Error | null) => void
  ): void
  /** fdatasync: everything written before, and the file's length. */
  datasync(): Promise<void>
  truncate(length: number): Promise<void>
  /** Length of the file, bytes. */
  size(): Promise<number>
  /** Allocates the first `length` bytes, so that writes there cannot run out of space. Rejects with `DISK_FULL`. */
  allocate(length: number): Promise<void>
  /** Bytes that the file system has left for us. */
  freeBytes(): Promise<number>
  /** Gives a created file its name, durably: until then a crash leaves nothing of that name. */
  publish(): Promise<void>
  close(): Promise<void>
  /** Removes the file's name. */
  remove(): Promise<void>
}

export type OpenOverlayFile = (file: string, create: boolean) => Promise<OverlayFile>

/** A file on a disk; a created one gets mode 0600. */
export const openDiskFile: OpenOverlayFile = async (file, create) => {
  const unpublished = `${file}.new`
  const handle = await open(create ? unpublished : file, create ? 'w+' : 'r+', 0o600)
  const fd = handle.fd
  return {
    pread(buffer, at, length, position, done) {
      const step = (got: number): void => {
        fs.read(fd, buffer, at + got, length - got, position + got, (error, bytes) => {
          if (error !== null) return done(error, got)
          if (bytes === 0 || got + bytes === length) return done(null, got + bytes)
          step(got + bytes)
        })
      }
      step(0)
    },
    pwrite(buffer, at, length, position, done) {
      const step = (put: number): void => {
        fs.write(fd, buffer, at + put, length - put, position + put, (error, bytes) => {
          if (error !== null) return done(error)
          if (put + bytes === length) return done(null)
          step(put + bytes)
        })
      }
      step(0)
    },
    datasync: () => handle.datasync(),
    truncate: (length) => handle.truncate(length),
    size: async () => (await handle.stat()).size,
    allocate: async (length) => {
      const { size, blocks } = await handle.stat()
      const missing = length - blocks * 512
      const free = await freeBytes(file)
      if (missing > free) throw diskFull(file, missing - free, missing)
      try {
        await fallocate(file, length)
      } catch (err) {
        await handle.truncate(size)
        const left = await freeBytes(file)
        if (missing > left) throw diskFull(file, missing - left, missing)
        throw err
      }
    },
    freeBytes: () => freeBytes(file),
    publish: async () => {
      await rename(unpublished, file)
      await syncDirectory(path.dirname(file))
    },
    close: () => handle.close(),
    remove: async () => {
      await unlink(file)
      await syncDirectory(path.dirname(file))
    }
  }
}

async function freeBytes(file: string): Promise<number> {
  const { bavail, bsize } = await statfs(file)
  return bavail * bsize
}

function diskFull(file: string, missingBytes: number, neededBytes: number): HyperparcelError {
  const directory = path.dirname(file)
  const mebibytes = Math.ceil(missingBytes / 1024 ** 2)
  return new HyperparcelError('DISK_FULL', `There is not enough space left in ${directory}`, {
    hint: `Free ${mebibytes} MiB there and try again.`,
    context: { directory, missing_bytes: missingBytes, needed_bytes: neededBytes }
  })
}

/** Node has no fallocate(2): util-linux's program, essential in Debian, has. */
async function fallocate(file: string, length: number): Promise<void> {
  const first = await runFallocate(['--length', String(length), file])
  if (first === null) return
  // Slower, by writing, where the file system cannot do it.
  const second = await runFallocate(['--posix', '--length', String(length), file])
  if (second === null) return
  throw new HyperparcelError('RESERVE_FAILED', `Could not reserve space in ${file}: ${second}`)
}

function runFallocate(args: string[]): Promise<string | null> {
  return new Promise((resolve) => {
    const child = spawn('fallocate', args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: process.env['PATH'], LC_ALL: 'C' }
    })
    let message = ''
    child.stderr.setEncoding('utf8')
    child.stderr.on('data', (text: string) => {
      if (message.length < 1000) message += text
    })
    child.on('error', (error) => resolve(error.message))
    child.on('close', (code) => resolve(code === 0 ? null : message.trim() || `exit code ${code}`))
  })
}
