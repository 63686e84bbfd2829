/** What a fill does with files: frames of a size that may be, parts and their sizes, room. */
import { open, readdir, statfs } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../base/errors.ts'
import {
  FRAME_BLOCKS_MAX,
  FRAME_NODES_MAX,
  emptyFrame,
  partName,
  type StickBlock,
  type StickFrame
} from '../format/stick.ts'
import type { StickIndex } from './stick-index.ts'

/** Left free on the medium. */
export const MARGIN_BYTES = 4 * 1024 ** 2

/** Everything that the index says, in one frame that is too large. */
export function frameOf(index: StickIndex): StickFrame {
  const { cards, version, complete } = index
  const frame: StickFrame = { ...emptyFrame(), cards, version, complete }
  for (const log of index.logs.values()) {
    frame.logs.push(log.head())
    for (const node of log.nodes.values()) frame.nodes.push({ log: log.number, node })
    for (const block of log.blocks.values()) frame.blocks.push(block)
  }
  return frame
}

/** Heads, then nodes, then blocks: what a frame names is known before. What is said of all comes last. */
export function split(frame: StickFrame): StickFrame[] {
  const { logs, nodes, blocks, cards, version, complete } = frame
  const frames: StickFrame[] = []
  if (logs.length > 0) frames.push({ ...emptyFrame(), logs })
  for (let at = 0; at < nodes.length; at += FRAME_NODES_MAX) {
    frames.push({ ...emptyFrame(), nodes: nodes.slice(at, at + FRAME_NODES_MAX) })
  }
  for (let at = 0; at < blocks.length; at += FRAME_BLOCKS_MAX) {
    frames.push({ ...emptyFrame(), blocks: blocks.slice(at, at + FRAME_BLOCKS_MAX) })
  }
  if (version !== null || cards.length > 0) {
    frames.push({ ...emptyFrame(), cards, version, complete })
  }
  return frames
}

export function blocksOf(index: StickIndex): StickBlock[] {
  return [...index.logs.values()].flatMap(({ blocks }) => [...blocks.values()])
}

/** Blocks in parts that are shorter than they were, or gone, have to come again. */
export function dropLost(index: StickIndex, sizes: Map<number, number>): void {
  for (const { blocks } of index.logs.values()) {
    for (const { index: block, part, offset, bytes } of blocks.values()) {
      if ((sizes.get(part) ?? 0) < offset + bytes) blocks.delete(block)
    }
  }
}

export async function partsIn(folder: string): Promise<number[]> {
  const names = await readdir(folder)
  return names.flatMap((name) => {
    const found = /^part-([0-9a-f]{6,8})$/.exec(name)
    return found === null ? [] : [Number.parseInt(found[1], 16)]
  })
}

export async function sizesOf(folder: string, parts: number[]): Promise<Map<number, number>> {
  const sizes = new Map<number, number>()
  for (const part of parts) {
    const file = await open(path.join(folder, partName(part)), 'r').catch(() => null)
    if (file === null) continue
    sizes.set(part, (await file.stat()).size)
    await file.close()
  }
  return sizes
}

export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}

export function tooSmall(missingBytes: number): HyperparcelError {
  return new HyperparcelError('DISK_FULL', 'There is too little space left on the stick', {
    hint: `Free ${Math.ceil(missingBytes / 1024 ** 2)} MiB or more there and try again.`,
    context: { missing_bytes: missingBytes }
  })
}

export function translated(err: unknown): never {
  if ((err as NodeJS.ErrnoException).code === 'ENOSPC') throw tooSmall(MARGIN_BYTES)
  throw HyperparcelError.from(err)
}
