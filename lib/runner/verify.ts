/** verify: reads everything that is stored of some versions, in a process that may open it. Fetches nothing. */
import type { Progress } from '../base/progress.ts'
import { Verifier } from '../parcel/verify.ts'
import { ReadOnlyStore } from '../store/read-only-store.ts'
import type { Host } from './host.ts'
import type { VerifyParams, VerifySummary } from './protocol.ts'
import { placeOf } from './repack.ts'
import { StoredHere } from './stored-here.ts'

const REPORT_MS = 200

export async function verifyVersions(
  host: Host,
  params: VerifyParams,
  signal: AbortSignal,
  event: (progress: Progress) => void
): Promise<VerifySummary> {
  const local = new ReadOnlyStore({ directory: params.storeDirectory })
  await local.ready()
  try {
    const verifier = new Verifier(new StoredHere(host, local), Buffer.from(params.dedupKey, 'hex'))
    let reported = 0
    const versions: number[] = []
    for (const { name, ...place } of params.versions) {
      const ontick = () => {
        signal.throwIfAborted()
        if (performance.now() - reported < REPORT_MS) return
        reported = performance.now()
        event({ phase: `checking ${name}`, done: verifier.bytes, unit: 'bytes' })
      }
      versions.push(await verifier.version(placeOf(place), ontick))
    }
    const { checked, bytes, missing, bad } = verifier
    const found = bad.map(({ log, ...rest }) => ({ log: log.toString('hex'), ...rest }))
    return { checked, bytes, missing, bad: found, versions }
  } finally {
    await local.close()
  }
}
