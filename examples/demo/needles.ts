/**
 * What the guest leaves in its memory, on its disk and on its consoles, and nobody else may ever see: random
 * texts that it writes again and again, and samples of its random data. The samples matter most: compression
 * leaves random bytes as they are, so they would show even in something that is compressed and not encrypted.
 */
import { randomBytes } from 'node:crypto'
import type { Needle } from './search.ts'

/** An attribute byte follows each character in the memory of a text screen: light grey on black. */
const VGA_ATTRIBUTE = 0x07

export interface Markers {
  ram: string
  disk: string
  console: string
  screen: string
}

export function makeMarkers(): Markers {
  const [ram, disk, console, screen] = ['ram', 'disk', 'console', 'screen'].map(
    (place) => `marker-${place}-${randomBytes(12).toString('hex')}`
  )
  return { ram, disk, console, screen }
}

/** @param samples random bytes of the guest, hex, by name */
export function makeNeedles(markers: Markers, samples: Record<string, string>): Needle[] {
  const texts = Object.entries(markers).map(([place, marker]: [string, string]) => ({
    name: `${place} marker`,
    bytes: Buffer.from(marker)
  }))
  const screen = {
    name: 'screen marker in video memory',
    bytes: Buffer.from([...Buffer.from(markers.screen)].flatMap((char) => [char, VGA_ATTRIBUTE]))
  }
  const random = Object.entries(samples).map(([name, hex]) => ({
    name,
    bytes: Buffer.from(hex, 'hex')
  }))
  return [...texts, screen, ...random]
}

/** A text that is planted outside of the guest, to see whether the search finds it. */
export function makeControl(): Needle {
  return { name: 'control', bytes: Buffer.from(`control-${randomBytes(16).toString('hex')}`) }
}
