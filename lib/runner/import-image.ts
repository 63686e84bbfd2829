/** An image file into a commit: a raw one read directly, any other copied by qemu-img to a device that stores it. */
import path from 'node:path'
import type { ProgressReporter } from '../base/progress.ts'
import type { Commit, VolumeCommit } from '../parcel/commit.ts'
import { Exports } from './exports.ts'
import { commitFrozen } from './frozen-commit.ts'
import { ImportDevice } from './import-device.ts'
import type { ImportVolume } from './protocol.ts'
import { copyIn } from './qemu-img.ts'
import { RawImage } from './raw-image.ts'

const REPORT_MS = 200

export interface ImportOptions {
  runDirectory: string
  signal: AbortSignal
  event: ProgressReporter
}

/** Returns how many bytes of data it had. */
export async function importImage(
  commit: Commit,
  volume: VolumeCommit,
  image: ImportVolume & { file: string },
  opts: ImportOptions
): Promise<number> {
  return image.format === 'raw'
    ? importRaw(commit, volume, image.file, opts)
    : importAny(commit, volume, image, opts)
}

async function importRaw(
  commit: Commit,
  volume: VolumeCommit,
  file: string,
  { signal, event }: ImportOptions
): Promise<number> {
  const image = await RawImage.open(file, volume.sizeBytes, signal)
  const progress = { phase: phaseOf(file), total: image.dirtyBytes, unit: 'bytes' as const }
  let done = 0
  event({ ...progress, done })
  try {
    await commitFrozen(commit, volume, image, (bytes) => {
      signal.throwIfAborted()
      event({ ...progress, done: (done += bytes) })
    })
  } finally {
    await image.close()
  }
  return done
}

async function importAny(
  commit: Commit,
  volume: VolumeCommit,
  { name, file, format }: ImportVolume & { file: string },
  { runDirectory, signal, event }: ImportOptions
): Promise<number> {
  const device = new ImportDevice(commit, volume)
  const report = () => event({ phase: phaseOf(file), done: device.bytesWritten, unit: 'bytes' })
  const timer = setInterval(report, REPORT_MS)
  const exports = new Exports(runDirectory)
  try {
    const uri = await exports.add(name, device)
    await copyIn(file, format, uri, signal).catch((err: unknown) => {
      throw exports.failure ?? err // what qemu-img was told, in full
    })
    await device.close()
  } finally {
    clearInterval(timer)
    await exports.close()
  }
  return device.bytesWritten
}

function phaseOf(file: string): string {
  return `reading ${path.basename(file)}`
}
