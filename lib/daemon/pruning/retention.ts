/** Which versions of a parcel pruning keeps. A decision over plain data. */
import type { VersionInfo } from '../../fleet/index.ts'

export interface RetentionFacts {
  /** All that are known of the parcel, by number, then time. */
  versions: readonly VersionInfo[]
  /** Of the newest, how many stay; at least 1. */
  keep: number
  /** Is that lease entry on the line that counts? What was written under others is a branch. */
  isOnLine(lease: Buffer): boolean
  /** Ids (hex) of versions that something needs: where the parcel goes on, what is open or being fetched. */
  inUse: ReadonlySet<string>
  /** Id (hex) of the newest version of which all is stored here; null where there is none. */
  newestWhole: string | null
}

/**
 * Kept are the newest of the line; whatever is in use; all of every branch, since only the user may drop those; and the
 * newest version that is wholly here, so that a device which has not yet fetched the newer ones never ends with nothing.
 */
export function keptVersions(facts: RetentionFacts): Set<string> {
  const kept = new Set(facts.inUse)
  if (facts.newestWhole !== null) kept.add(facts.newestWhole)
  const line: VersionInfo[] = []
  for (const info of facts.versions) {
    if (info.branch === null && facts.isOnLine(info.lease)) line.push(info)
    else kept.add(info.version.toString('hex'))
  }
  for (const { version } of line.slice(-Math.max(1, facts.keep))) kept.add(version.toString('hex'))
  return kept
}
