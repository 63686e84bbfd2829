/** Values of options. A bad one throws what commander turns into a usage error that names the option. */
import { InvalidArgumentError } from 'commander'
import { COMPRESSION_LEVEL_MAX, COMPRESSION_LEVEL_MIN } from '../base/limits.ts'

const SIZE_UNITS: Record<string, number> = {
  '': 1,
  K: 1024,
  M: 1024 ** 2,
  G: 1024 ** 3,
  T: 1024 ** 4
}
const DURATION_UNITS: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000
}

/** `512M`, `20G`, `1.5T`, `4096`; also `512MiB`, `512MB` (both 1024²: disks and memory come in these). Bytes, above 0. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:iB|B)?$/i.exec(text.trim())
  const bytes = match === null ? 0 : Number(match[1]) * SIZE_UNITS[match[2].toUpperCase()]
  if (!Number.isInteger(bytes) || bytes <= 0 || !Number.isSafeInteger(bytes)) {
    throw new InvalidArgumentError('Write a size like 512M, 20G or a number of bytes.')
  }
  return bytes
}

/** `30s`, `10m`, `2h`, `1d`. Milliseconds, above 0. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/i.exec(text.trim())
  const durationMs = match === null ? 0 : Number(match[1]) * DURATION_UNITS[match[2].toLowerCase()]
  if (durationMs <= 0) throw new InvalidArgumentError('Write a duration like 30s, 10m or 2h.')
  return Math.round(durationMs)
}

/** A whole number from `min` on. */
export function parseCount(min: number): (text: string) => number {
  return (text) => {
    const count = /^\d{1,9}$/.test(text) ? Number(text) : -1
    if (count >= min) return count
    throw new InvalidArgumentError(`Write a whole number, ${min} or more.`)
  }
}

/** A level of zstd. */
export function parseLevel(text: string): number {
  const level = /^\d$/.test(text) ? Number(text) : 0
  if (level >= COMPRESSION_LEVEL_MIN && level <= COMPRESSION_LEVEL_MAX) return level
  throw new InvalidArgumentError(
    `Write a number from ${COMPRESSION_LEVEL_MIN} to ${COMPRESSION_LEVEL_MAX}.`
  )
}

export function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  if (port > 0 && port < 65_536) return port
  throw new InvalidArgumentError('Write a port number from 1 to 65535.')
}

/** `HOST:PORT,…`; `[::1]:49737` for IPv6. As given, checked. */
export function parseNodes(text: string): string[] {
  const nodes = text.split(',').map((node) => node.trim())
  for (const node of nodes) {
    const match = /^(?:\[[0-9a-f:.]+\]|[^\s:[\]]+):(\d{1,5})$/i.exec(node)
    if (match === null || Number(match[1]) < 1 || Number(match[1]) > 65_535) {
      throw new InvalidArgumentError('Write HOST:PORT, several with commas between them.')
    }
  }
  return nodes
}

/** `PARCEL` or `PARCEL@VERSION`. */
export function parseParcelVersion(text: string): { parcel: string; version?: number } {
  const match = /^([^@]+)(?:@(\d{1,9}))?$/.exec(text)
  if (match === null || match[2] === '0') {
    throw new InvalidArgumentError('Write PARCEL or PARCEL@VERSION.')
  }
  if (match[2] === undefined) return { parcel: match[1] }
  return { parcel: match[1], version: Number(match[2]) }
}

/** For an option that may be given several times. */
export function collect(text: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), text]
}
