/** The few things that we let qemu-img do: look at an image, copy one to or from an NBD export. */
import { spawn } from 'node:child_process'
import { open } from 'node:fs/promises'
import { HyperparcelError } from '../base/errors.ts'
import { VOLUME_BYTES_MAX } from '../base/limits.ts'

const QCOW2_MAGIC = 0x514649fb
const OUTPUT_MAX = 64 * 1024

export interface ImageInfo {
  format: 'raw' | 'qcow2'
  sizeBytes: number
}

/**
 * Format by content, size, and whether we can take it. Rejects with `IMAGE_UNREADABLE` or `IMAGE_INVALID`.
 * An image that names other files (backing file, external data file) is refused: whoever made it could name any.
 */
export async function inspectImage(file: string): Promise<ImageInfo> {
  const { magic, size } = await readHead(file)
  if (magic !== QCOW2_MAGIC) {
    if (/\.qcow2?$/i.test(file)) {
      throw new HyperparcelError('IMAGE_INVALID', `${file} is not a qcow2 image`, {
        hint: 'It does not start as one. If it is a raw image, give it another name.'
      })
    }
    if (size === 0) throw new HyperparcelError('IMAGE_INVALID', `${file} is empty`)
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
  return { format: 'qcow2', sizeBytes }
}

/** Copies an image to an NBD export that reads as zeros, in order. */
export async function copyIn(
  file: string,
  format: string,
  uri: string,
  signal?: AbortSignal
): Promise<void> {
  const args = ['convert', '-n', '--target-is-zero', '-m', '1', '-f', format, '-O', 'raw']
  await run([...args, file, uri], 'IMAGE_INVALID', file, signal)
}

/** Copies an NBD export to a new image, holes kept. */
export async function copyOut(
  uri: string,
  file: string,
  format: string,
  signal?: AbortSignal
): Promise<void> {
  await run(['convert', '-f', 'raw', '-O', format, uri, file], 'EXPORT_FAILED', file, signal)
}

async function readHead(file: string): Promise<{ magic: number; size: number }> {
  try {
    const handle = await open(file, 'r')
    try {
      const stat = await handle.stat()
      if (stat.isDirectory()) {
        throw new HyperparcelError('IMAGE_UNREADABLE', 'it is a directory')
      }
      const head = Buffer.alloc(4)
      await handle.read(head, 0, 4, 0)
      return { magic: head.readUInt32BE(0), size: stat.size }
    } finally {
      await handle.close()
    }
  } catch (err) {
    throw new HyperparcelError(
      'IMAGE_UNREADABLE',
      `${file} cannot be read: ${(err as Error).message}`,
      { hint: 'Check the path and that you may read it.', cause: err }
    )
  }
}

function run(args: string[], code: string, file: string, signal?: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('qemu-img', args, { stdio: ['ignore', 'pipe', 'pipe'], signal })
    let out = ''
    let err = ''
    child.stdout.on('data', (data: Buffer) => (out = (out + data.toString()).slice(-OUTPUT_MAX)))
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
      if (status === 0) resolve(out)
      else if (signal?.aborted === true) reject(signal.reason as Error)
      else reject(new HyperparcelError(code, `${file}: ${lastLine(err)}`))
    })
  })
}

function lastLine(text: string): string {
  const line = text.trim().split('\n').at(-1) ?? ''
  return line.replace(/^qemu-img: /, '') || 'qemu-img failed'
}
