/** The few things that we let qemu-img do: look at an image, copy one to or from an NBD export. */
import { spawn } from 'node:child_process'
import { open, stat } from 'node:fs/promises'
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_BYTES, VOLUME_BYTES_MAX } from '../base/limits.ts'
import { HEAD_BYTES, notADisk } from './no-image.ts'

const QCOW2_MAGIC = 0x514649fb
/** Exit statuses of `qemu-img check`: errors were found; space is wasted, which hurts nobody. */
const CHECK_CORRUPT = 2
const CHECK_LEAKS = 3
const OUTPUT_MAX = 64 * 1024
/** Some hundred thousand extents; an image with more is read as a whole. */
const MAP_BYTES_MAX = 32 * 1024 * 1024

export interface ImageInfo {
  format: 'raw' | 'qcow2'
  sizeBytes: number
}

/**
 * Format by content, size, and whether we can take it. Rejects with `IMAGE_UNREADABLE` or `IMAGE_INVALID`.
 * With `asDisk` what cannot be meant as a disk is refused, too. An image that names other files (backing file, external data file) is refused: whoever made it could name any.
 */
export async function inspectImage(file: string, asDisk: boolean): Promise<ImageInfo> {
  const { head, size } = await readHead(file)
  if (head.byteLength < 4 || head.readUInt32BE(0) !== QCOW2_MAGIC) {
    if (/\.qcow2?$/i.test(file)) {
      throw new HyperparcelError('IMAGE_INVALID', `${file} is not a qcow2 image`, {
        hint: 'It does not start as one. If it is a raw image, give it another name.'
      })
    }
    if (size === 0) {
      const hint = 'A blank disk needs no image: see --size.'
      throw new HyperparcelError('IMAGE_INVALID', `${file} is empty`, { hint })
    }
    const other = asDisk ? notADisk(head) : null
    if (other !== null) {
      const { what, hint } = other
      throw new HyperparcelError('IMAGE_INVALID', `${file} is no disk: it is ${what}`, { hint })
    }
    if (size > VOLUME_BYTES_MAX) {
      throw new HyperparcelError('IMAGE_INVALID', `${file} has more than 64 TiB`)
    }
    return { format: 'raw', sizeBytes: size }
  }
  const text = await run(['info', '--output=json', '-f', 'qcow2', file], 'IMAGE_INVALID', file)
  const info = JSON.parse(text) as {
    'virtual-size': number
    'backing-filename'?: string
    encrypted?: boolean
    'format-specific'?: { data?: { 'data-file'?: string } }
  }
  if (info['backing-filename'] !== undefined || info['format-specific']?.data?.['data-file']) {
    throw new HyperparcelError('IMAGE_INVALID', `${file} needs another file to be complete`, {
      hint: `Make it whole first: qemu-img convert -O qcow2 ${file} whole.qcow2`
    })
  }
  if (info.encrypted === true) {
    throw new HyperparcelError('IMAGE_INVALID', `${file} is encrypted`, {
      hint: 'Decrypt it first with qemu-img convert.'
    })
  }
  const sizeBytes = info['virtual-size']
  if (!(sizeBytes > 0 && sizeBytes <= VOLUME_BYTES_MAX)) {
    throw new HyperparcelError('IMAGE_INVALID', `${file} says it has ${sizeBytes} bytes`)
  }
  await checkWhole(file)
  return { format: 'qcow2', sizeBytes }
}

/** A run of chunks. */
export interface Extent {
  first: number
  count: number
}

/** Where a raw image has data, ascending, in whole chunks; all of it where nobody can tell. */
export async function dataExtents(
  file: string,
  sizeBytes: number,
  signal?: AbortSignal
): Promise<Extent[]> {
  const args = ['map', '--output=json', '-f', 'raw', file]
  const text = await run(args, 'IMAGE_UNREADABLE', file, { signal, outputMax: MAP_BYTES_MAX })
  const extents: Extent[] = []
  if (text.length >= MAP_BYTES_MAX) return [{ first: 0, count: chunksIn(sizeBytes) }]
  for (const { start, length, data } of JSON.parse(text) as MapEntry[]) {
    if (!data) continue
    const last = extents.at(-1)
    const end = chunksIn(Math.min(start + length, sizeBytes))
    const first = Math.max(Math.floor(start / CHUNK_BYTES), last ? last.first + last.count : 0)
    if (end <= first) continue
    if (last !== undefined && last.first + last.count === first) last.count = end - last.first
    else extents.push({ first, count: end - first })
  }
  return extents
}

interface MapEntry {
  start: number
  length: number
  data: boolean
}

function chunksIn(bytes: number): number {
  return Math.ceil(bytes / CHUNK_BYTES)
}

/** Copies an image to an NBD export that reads as zeros, in order. */
export async function copyIn(
  file: string,
  format: string,
  uri: string,
  signal?: AbortSignal
): Promise<void> {
  const args = ['convert', '-n', '--target-is-zero', '-m', '1', '-f', format, '-O', 'raw']
  await run([...args, file, uri], 'IMAGE_INVALID', file, { signal })
}

/** Copies an NBD export to a new image, holes kept. */
export async function copyOut(
  uri: string,
  file: string,
  format: string,
  signal?: AbortSignal
): Promise<void> {
  await run(['convert', '-f', 'raw', '-O', format, uri, file], 'EXPORT_FAILED', file, { signal })
}

function unreadable(message: string): HyperparcelError {
  return new HyperparcelError('IMAGE_UNREADABLE', message)
}

/** QEMU reads what is behind the end of the file as zeros: an image that was cut off would lose data unnoticed. */
async function checkWhole(file: string): Promise<void> {
  const text = await run(['check', '--output=json', '-f', 'qcow2', file], 'IMAGE_INVALID', file, {
    statuses: [0, CHECK_CORRUPT, CHECK_LEAKS]
  })
  const found = JSON.parse(text) as { corruptions?: number; 'check-errors'?: number }
  const errors = (found.corruptions ?? 0) + (found['check-errors'] ?? 0)
  if (errors === 0) return
  throw new HyperparcelError('IMAGE_INVALID', `${file} is damaged or cut off: ${errors} errors`, {
    hint: `Copy it again, or see: qemu-img check ${file}`
  })
}

async function readHead(file: string): Promise<{ head: Buffer; size: number }> {
  try {
    const found = await stat(file)
    if (found.isDirectory()) throw unreadable('it is a directory')
    if (!found.isFile()) throw unreadable('it is not a regular file') // a pipe would block
    const handle = await open(file, 'r')
    try {
      const head = Buffer.alloc(HEAD_BYTES)
      const { bytesRead } = await handle.read(head, 0, HEAD_BYTES, 0)
      return { head: head.subarray(0, bytesRead), size: found.size }
    } finally {
      await handle.close()
    }
  } catch (err) {
    throw new HyperparcelError('IMAGE_UNREADABLE', `${file} cannot be read: ${systemReason(err)}`, {
      hint: 'Check the path and that you may read it.',
      cause: err
    })
  }
}

interface RunOptions {
  signal?: AbortSignal
  /** Exit statuses that are no failure. */
  statuses?: number[]
  /** The end of its output counts, where it prints more. */
  outputMax?: number
}

function run(
  args: string[],
  code: string,
  file: string,
  { signal, statuses = [0], outputMax = OUTPUT_MAX }: RunOptions = {}
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('qemu-img', args, { stdio: ['ignore', 'pipe', 'pipe'], signal })
    const out = new TextTail(outputMax)
    let err = ''
    child.stdout.on('data', (data: Buffer) => out.push(data))
    child.stderr.on('data', (data: Buffer) => (err = (err + data.toString()).slice(-OUTPUT_MAX)))
    child.once('error', (cause) => {
      if (signal?.aborted === true) return reject(signal.reason as Error)
      reject(
        new HyperparcelError('TOOL_MISSING', 'qemu-img cannot be started', {
          hint: 'Install the package qemu-utils.',
          cause
        })
      )
    })
    child.once('close', (status) => {
      if (status !== null && statuses.includes(status)) resolve(out.text())
      else if (signal?.aborted === true) reject(signal.reason as Error)
      else {
        const hint =
          code === 'IMAGE_INVALID'
            ? `See what it is: qemu-img info ${file}`
            : 'Check that there is room and that you may write there.'
        reject(new HyperparcelError(code, `${file}: ${lastLine(err, file)}`, { hint }))
      }
    })
  })
}

/** The last bytes of what a program prints. */
class TextTail {
  readonly #max: number
  #pieces: Buffer[] = []
  #bytes = 0

  constructor(max: number) {
    this.#max = max
  }

  push(piece: Buffer): void {
    this.#pieces.push(piece)
    this.#bytes += piece.byteLength
    while (this.#bytes - this.#pieces[0].byteLength >= this.#max) {
      this.#bytes -= this.#pieces.shift()!.byteLength
    }
  }

  text(): string {
    return Buffer.concat(this.#pieces).subarray(-this.#max).toString()
  }
}

/** What the system said, without its names for it. */
function systemReason(err: unknown): string {
  const { code, message } = err as NodeJS.ErrnoException
  return REASONS[code ?? ''] ?? message
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'a part of its path is no directory',
  EACCES: 'this user may not read it',
  EPERM: 'this user may not read it',
  ELOOP: 'its links lead in a circle'
}

/** Of what qemu-img said; it repeats the file's name. */
function lastLine(text: string, file: string): string {
  const line = (text.trim().split('\n').at(-1) ?? '').replace(/^qemu-img: /, '')
  const what = line.startsWith(`${file}: `) ? line.slice(file.length + 2) : line
  return (
    what
      .replace(/^error while converting \w+: /, '')
      .replace(/^Could not create '.*?'(?=:|$)/, 'it cannot be created') || 'qemu-img failed'
  )
}
