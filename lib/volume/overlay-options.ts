/** What an overlay is made or opened with. */
import type { OpenOverlayFile } from './overlay-file.ts'

export interface OverlayRuntimeOptions {
  /** Space for that many bytes of writes is reserved, so that they cannot run out of it. */
  reserveBytes?: number
  /** Space on the disk that counts as low; 256 MiB by default. */
  lowSpaceBytes?: number
  /** The disk's space became low, or a write failed for lack of it. Called again only after it was not low. */
  onLowSpace?: (freeBytes: number) => void
  openFile?: OpenOverlayFile
}

export interface OverlayCreateOptions extends OverlayRuntimeOptions {
  /** Number and name of the volume in its parcel. */
  volume: number
  name: string
  sizeBytes: number
  /** The version that it lies on; at most 64 bytes, any format. */
  baseId: string
  /** Seals the random slot key (32 bytes) for this device, at most 512 bytes. */
  sealKey: (key: Buffer) => Buffer
  /** False: a flush needs no sync, the content need not survive a crash (guest RAM). Default true. */
  durable?: boolean
}

export interface OverlayOpenOptions extends OverlayRuntimeOptions {
  unsealKey: (sealed: Buffer) => Buffer
  /** Does the version exist that a commit named before the crash? Then what it took is dropped here. */
  committed?: (commitId: string) => boolean | Promise<boolean>
}
