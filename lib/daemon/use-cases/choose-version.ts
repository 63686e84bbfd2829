/** Which version a resume or a rollback starts from. */
import { HyperparcelError } from '../../base/errors.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import { headVersion, versionByNumber } from '../versions/heads.ts'
import { awaitNews } from '../peers/news.ts'
import type { FleetNode } from '../node.ts'
import type { UseCaseContext } from './context.ts'
import type { Lease } from './take-lease.ts'

/** How long news of a version that a lease names may take after the lease itself. */
const NEWS_MS = 15_000

/** The version that a resume continues: the one asked for, else the newest, of which news may still be on its way. */
export async function chooseVersion(
  node: FleetNode,
  parcel: ParcelInfo,
  lease: Lease,
  params: { version?: number },
  context: UseCaseContext
): Promise<VersionInfo> {
  if (params.version !== undefined) return versionByNumber(node, parcel, params.version)
  const known = () => headVersion(node, parcel.id)
  if (known() === null && lease.version !== null) {
    context.progress({ phase: 'waiting for news of the newest version' })
    await awaitNews(node, () => known() !== null, NEWS_MS, context.signal)
  }
  const head = known()
  if (head !== null) return head
  throw new HyperparcelError(
    'DATA_UNREACHABLE',
    `The newest version of ${parcel.name} is not known here yet`,
    {
      hint: 'Connect to the device that made it, or name an older one with --version.'
    }
  )
}
