/** Media that desktops mount by themselves, from the kernel's own table: looking there waits for no medium. */
import { readFile } from 'node:fs/promises'

/** Where udisks and its like mount what is plugged in. */
const PLACES = ['/media/', '/run/media/']

export async function pluggedIn(): Promise<string[]> {
  return mountedMedia(await readFile('/proc/self/mountinfo', 'utf8').catch(() => ''))
}

/** Mount points of removable media in a table as of /proc/self/mountinfo, see proc(5). */
export function mountedMedia(table: string): string[] {
  const found = new Set<string>()
  for (const line of table.split('\n')) {
    const at = line
      .split(' ')[4]
      ?.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8))
      )
    if (at !== undefined && PLACES.some((place) => at.startsWith(place))) found.add(at)
  }
  return [...found].sort()
}
