/**
 * Looks for bytes that must not be there. Whatever cannot be looked at is an error or is named in the answer:
 * nothing is passed over in silence. Sockets have no content; what is mounted below (guest RAM as the VMM sees
 * it) is no file of the home, and named in `mounts`.
 */
import { open, readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../../lib/base/errors.ts'

const PIECE_BYTES = 4 * 1024 * 1024

export interface Needle {
  name: string
  bytes: Buffer
}

export interface Hit {
  needle: string
  file: string
  offset: number
}

export interface Found {
  files: number
  bytes: number
  hits: Hit[]
  /** Files of other file systems. */
  mounts: string[]
}

/** Hits of one needle in one file that are noted; there may be thousands. */
const HITS_NOTED = 3

/** Every regular file in a directory, as it is now; files may come and go meanwhile. */
export async function searchTree(directory: string, needles: Needle[]): Promise<Found> {
  const found: Found = { files: 0, bytes: 0, hits: [], mounts: [] }
  const { dev } = await stat(directory)
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const file = path.join(entry.parentPath, entry.name)
    try {
      if ((await stat(file)).dev !== dev) {
        found.mounts.push(file)
        continue
      }
      const { bytes, hits } = await searchFile(file, needles)
      found.files++
      found.bytes += bytes
      found.hits.push(...hits)
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code !== 'ENOENT') throw unsearchable(file, err)
    }
  }
  return found
}

/** One file, from its start to its end. */
export async function searchFile(
  file: string,
  needles: Needle[]
): Promise<{ bytes: number; hits: Hit[] }> {
  const overlap = Math.max(...needles.map(({ bytes }) => bytes.byteLength)) - 1
  const buffer = Buffer.alloc(overlap + PIECE_BYTES)
  const hits: Hit[] = []
  const handle = await open(file)
  try {
    let end = 0 // of what lies in the buffer
    let position = 0 // in the file, of the buffer's end
    for (;;) {
      const { bytesRead } = await handle.read(buffer, end, PIECE_BYTES, position)
      if (bytesRead === 0) return { bytes: position, hits }
      end += bytesRead
      position += bytesRead
      const piece = buffer.subarray(0, end)
      for (const needle of needles) {
        search(piece, needle, position - end, file, hits)
      }
      const kept = Math.min(overlap, end)
      buffer.copyWithin(0, end - kept, end)
      end = kept
    }
  } finally {
    await handle.close()
  }
}

function search(piece: Buffer, needle: Needle, base: number, file: string, hits: Hit[]): void {
  let noted = hits.filter((hit) => hit.file === file && hit.needle === needle.name).length
  let at = piece.indexOf(needle.bytes)
  while (at !== -1 && noted < HITS_NOTED) {
    const offset = base + at
    const known = hits.some((hit) => hit.needle === needle.name && hit.offset === offset)
    if (!known) {
      hits.push({ needle: needle.name, file, offset })
      noted++
    }
    at = piece.indexOf(needle.bytes, at + 1)
  }
}

function unsearchable(file: string, cause: unknown): HyperparcelError {
  const why = (cause as Error).message
  return new HyperparcelError('SEARCH_FAILED', `${file} cannot be searched: ${why}`, { cause })
}
