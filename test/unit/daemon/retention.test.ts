/** Which versions pruning keeps. */
import test from 'brittle'
import * as fc from 'fast-check'
import { keptVersions } from '../../../lib/daemon/pruning/retention.ts'
import type { VersionInfo } from '../../../lib/fleet/index.ts'

const LINE = Buffer.alloc(32, 1)
const OFF = Buffer.alloc(32, 2)

const facts = {
  isOnLine: (lease: Buffer) => lease.equals(LINE),
  inUse: new Set<string>(),
  newestWhole: null
}

test('the newest of the line stay', (t) => {
  const versions = [1, 2, 3, 4, 5].map((number) => version(number))
  t.alike(kept(versions, { ...facts, keep: 2 }), [4, 5])
  t.alike(kept(versions, { ...facts, keep: 9 }), [1, 2, 3, 4, 5])
  t.alike(kept([], { ...facts, keep: 1 }), [])
})

test('all of a branch stays, and does not count', (t) => {
  const versions = [version(1), version(2), version(3, OFF), version(3), version(4, LINE, '4@home')]
  t.alike(kept(versions, { ...facts, keep: 1 }), [3, 3, 4])
  t.alike(kept(versions, { ...facts, keep: 1, isOnLine: () => false }), [1, 2, 3, 3, 4])
})

test('what is in use stays, and the newest whole one', (t) => {
  const versions = [1, 2, 3, 4, 5].map((number) => version(number))
  const inUse = new Set([id(versions[0])])
  t.alike(kept(versions, { ...facts, keep: 1, inUse }), [1, 5])
  t.alike(kept(versions, { ...facts, keep: 1, newestWhole: id(versions[2]) }), [3, 5])
})

test('keeping more never keeps less, and the newest always stays', (t) => {
  const line = fc.record({ off: fc.boolean(), used: fc.boolean() })
  fc.assert(
    fc.property(fc.array(line, { minLength: 1, maxLength: 20 }), fc.nat(22), (all, keep) => {
      const versions = all.map(({ off }, i) => version(i + 1, off ? OFF : LINE))
      const inUse = new Set(versions.filter((_, i) => all[i].used).map(id))
      const less = keptVersions({ ...facts, versions, keep, inUse })
      const more = keptVersions({ ...facts, versions, keep: keep + 1, inUse })
      return [...less].every((name) => more.has(name)) && less.has(id(versions.at(-1)!))
    })
  )
  t.pass()
})

function kept(versions: VersionInfo[], opts: Omit<Parameters<typeof keptVersions>[0], 'versions'>) {
  const names = keptVersions({ ...opts, versions })
  return versions.filter((info) => names.has(id(info))).map(({ number }) => number)
}

function id(info: VersionInfo): string {
  return info.version.toString('hex')
}

let made = 0

function version(number: number, lease = LINE, branch: string | null = null): VersionInfo {
  const name = Buffer.alloc(32)
  name.writeUInt32LE(++made)
  return {
    parcel: Buffer.alloc(16),
    version: name,
    number,
    parent: null,
    lease,
    log: Buffer.alloc(32),
    block: 0,
    message: '',
    bytesNew: 0,
    bytesTotal: 0,
    hasMemory: false,
    branch,
    device: Buffer.alloc(32),
    time: 0
  }
}
