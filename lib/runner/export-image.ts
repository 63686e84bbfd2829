/** A volume of a version as an image file: a raw one written directly, any other by qemu-img from an NBD export. */
import path from 'node:path'
import safetyCatch from 'safety-catch'
import type { ProgressReporter } from '../base/progress.ts'
import type { VolumeMap } from '../parcel/volume-map.ts'
import type { Volume } from '../volume/volume.ts'
import { Exports } from './exports.ts'
import { ImageTarget } from './image-target.ts'
import { copyOut } from './qemu-img.ts'
import { exportRaw } from './raw-export.ts'

const REPORT_MS = 200

export interface ExportOptions {
  runDirectory: string
  signal: AbortSignal
  event: ProgressReporter
}

/** Where it comes from: a volume that nobody writes to, and its map. */
export interface ExportedVolume {
  name: string
  map: VolumeMap
  volume: Volume
}

/** The file appears whole, or not at all. */
export async function exportImage(
  source: ExportedVolume,
  file: string,
  format: string,
  { runDirectory, signal, event }: ExportOptions
): Promise<void> {
  const target = await ImageTarget.create(file)
  const phase = `writing ${path.basename(file)}`
  const report = async () => event({ phase, done: await target.bytesWritten(), unit: 'bytes' })
  const timer = setInterval(() => void report().catch(safetyCatch), REPORT_MS)
  try {
    if (format === 'raw') await exportRaw(source.map, source.volume.base, target.partial, signal)
    else await exportAny(source, target.partial, format, runDirectory, signal)
    await target.finish()
  } finally {
    clearInterval(timer)
    await target.close()
  }
}

async function exportAny(
  { name, volume }: ExportedVolume,
  file: string,
  format: string,
  runDirectory: string,
  signal: AbortSignal
): Promise<void> {
  const exports = new Exports(runDirectory)
  try {
    const uri = await exports.add(name, volume)
    await copyOut(uri, file, format, signal).catch((err: unknown) => {
      throw exports.failure ?? err // what qemu-img was told, in full
    })
  } finally {
    await exports.close()
  }
}
