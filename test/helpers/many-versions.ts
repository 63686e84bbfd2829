/** Gives a parcel of a home on which no daemon runs as many versions as if it had been suspended every day for years. */
import { openHome } from '../../lib/base/paths.ts'
import { openBlock, sealBlock } from '../../lib/chunk/sealed-block.ts'
import { Registry, logKeys } from '../../lib/fleet/index.ts'
import { loadIdentity } from '../../lib/fleet/identity.ts'
import { KIND } from '../../lib/format/sealed.ts'
import {
  VERSION_BYTES_MAX,
  decodeVersion,
  encodeVersion,
  versionId
} from '../../lib/format/version.ts'
import { LogStore } from '../../lib/store/log-store.ts'

export interface ManyVersions {
  /** Directory of the store. */
  store: string
  /** What the log of the parcel is for. */
  purpose: string
}

/** All have the content of the newest one, as after rollbacks. */
export async function addVersions(
  home: string,
  name: string,
  count: number
): Promise<ManyVersions> {
  const paths = await openHome(home)
  const identity = (await loadIdentity(paths.keys))!
  const store = new LogStore({ directory: paths.store })
  await store.ready()
  const registry = new Registry({ identity, store, keysDirectory: paths.keys })
  try {
    await registry.ready()
    const parcel = registry.parcelByName(name)!.id
    const purpose = `parcel:${parcel.toString('hex')}`
    const log = await store.current(purpose)
    const { meta } = logKeys(registry.parcelKey(parcel), log.key)
    const info = registry.versions(parcel).at(-1)!
    const sealed = (await log.read(info.block))!
    const record = decodeVersion(
      openBlock(KIND.VERSION, sealed, log.key, info.block, meta, VERSION_BYTES_MAX)
    )
    const blocks: Buffer[] = []
    const bodies = Array.from({ length: count }, (_, i) => {
      const block = log.length + i
      record.number++
      record.parent = i === 0 ? info.version : versionId(encodeVersion(record))
      const encoded = encodeVersion(record)
      blocks.push(sealBlock(KIND.VERSION, encoded, log.key, block, meta, registry.keyring.epoch))
      const { number, parent } = record
      return { ...info, version: versionId(encoded), number, parent, block, log: log.key }
    })
    for (let i = 1; i < count; i++) bodies[i].parent = bodies[i - 1].version
    await log.append(blocks)
    await store.flush()
    await registry.append(...bodies.map((body) => ({ kind: 'version' as const, body })))
    return { store: paths.store, purpose }
  } finally {
    await registry.close()
    await store.close()
  }
}
