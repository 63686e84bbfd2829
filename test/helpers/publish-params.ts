/** What a commit says of its version when it is published. */
import { randomBytes } from 'node:crypto'

/** Of a version that has nothing but its record. */
export function publishParams(commit: number, block: number) {
  return {
    commit,
    block,
    version: randomBytes(32).toString('hex'),
    number: 1,
    parent: null,
    lease: null,
    time: 0,
    message: '',
    cause: 'create' as const,
    bytesNew: 0,
    bytesStored: 0,
    hasMemory: false
  }
}
