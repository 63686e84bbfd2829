/** What lies nearby as sources of bytes, by path. */
import type { SourceCount } from '../transfers/byte-sources.ts'
import type { Lookaside } from './lookaside.ts'

export function nearbySources(lookaside: Lookaside): SourceCount[] {
  return lookaside.list().map(({ path }) => ({
    name: path,
    kind: 'lookaside',
    bytesIn: lookaside.hits(path).bytes,
    bytesOut: 0
  }))
}
