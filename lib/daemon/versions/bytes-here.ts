/**
 * How much of a version is stored here, also where its maps are not: what its parent has and it did not add is in it too.
 */
import type { VersionInfo } from '../../fleet/index.ts'
import type { FleetNode } from '../node.ts'

/** Ancestors looked at for a version whose maps are not here. */
const ANCESTORS_MAX = 8

export interface Here {
  /** Of `bytesTotal`. Exact where the maps are here, else at least about that. */
  bytes: number
  /** Is all of it here, also maps and device state? */
  whole: boolean
}

/** What a version is made of, as its announcement says, and what of it was found here. */
export interface Measured {
  bytesTotal: number
  bytesNew: number
  bytes: number
  whole: boolean
  /** All of its maps are here: `bytes` is exact. */
  mapped: boolean
}

/** Pure. The version first, then its parent, and so on as far as it was looked at. */
export function estimate(line: readonly Measured[]): Here {
  const [first, ...older] = line
  if (first.whole) return { bytes: first.bytesTotal, whole: true }
  if (first.mapped || older.length === 0) return { bytes: first.bytes, whole: false }
  const parent = older[0]
  const parentMissing = parent.bytesTotal - estimate(older).bytes
  const atLeast = first.bytesTotal - first.bytesNew - parentMissing
  return { bytes: Math.min(first.bytesTotal, Math.max(first.bytes, atLeast)), whole: false }
}

export async function bytesHere(node: FleetNode, info: VersionInfo): Promise<Here> {
  return estimate(await measure(node, info))
}

async function measure(node: FleetNode, info: VersionInfo): Promise<Measured[]> {
  const known = node.registry.versions(info.parcel)
  const line: Measured[] = []
  let next: VersionInfo | undefined = info
  while (next !== undefined && line.length <= ANCESTORS_MAX) {
    const { bytesTotal, bytesNew, parent }: VersionInfo = next
    const [found] = await node.versions.local([next])
    line.push({ bytesTotal, bytesNew, ...found })
    if (found.whole || found.mapped) break
    next = known.find(({ version }) => parent !== null && version.equals(parent))
  }
  return line
}

/** Of many versions of one parcel, of which was found here what `found` says, in the same order. */
export function bytesHereOfEach(
  infos: readonly VersionInfo[],
  found: readonly { bytes: number; whole: boolean; mapped: boolean }[]
): Here[] {
  const place = new Map(infos.map(({ version }, i) => [version.toString('hex'), i]))
  const here: Here[] = []
  const measured = (i: number): Measured => ({ ...infos[i], ...found[i] })
  for (const [i, { parent }] of infos.entries()) {
    const before = parent === null ? undefined : place.get(parent.toString('hex'))
    const line = [measured(i)]
    if (before !== undefined) {
      // Older ones are estimated already: what was found counts as exact.
      const known = here[before] as Here | undefined
      line.push(
        known === undefined ? measured(before) : { ...measured(before), ...known, mapped: true }
      )
    }
    here.push(estimate(line))
  }
  return here
}
