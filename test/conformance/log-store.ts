/** What every `LogStorePort` must do. Run it against each implementation. */
import { once } from 'node:events'
import type { Assert, Test } from 'brittle'
import type { Log, LogStorePort } from '../../lib/store/ports.ts'

/** A fresh, open store; the factory closes it with the test. */
export type LogStoreFactory = (t: Assert) => Promise<LogStorePort>

export interface LogStoreSuiteOptions {
  /** False for a fake whose proofs prove nothing: what is about forged ones is left out. */
  verifies?: boolean
}

export function logStoreSuite(
  test: Test,
  name: string,
  factory: LogStoreFactory,
  { verifies = true }: LogStoreSuiteOptions = {}
): void {
  test(`${name}: appends are numbered and readable before they are durable`, async (t) => {
    const store = await factory(t)
    const log = await store.current('parcel:a')
    t.is(log.key.byteLength, 32)
    t.ok(log.writable)
    t.is(await log.append(blocks(0, 2)), 0)
    t.is(await log.append(blocks(2, 1)), 2)
    t.is(log.length, 3)
    t.is(log.durableLength, 0, 'nothing is durable before a flush')
    t.alike(await log.read(2), block(2))
    t.is(await log.read(3), null)
    t.ok(await log.has(1))
    t.absent(await log.has(3))
    const durable = once(log, 'durable')
    await store.flush()
    t.is((await durable)[0], 3)
    t.is(log.durableLength, 3)
  })

  test(`${name}: a purpose keeps its log until it is retired`, async (t) => {
    const store = await factory(t)
    const first = await store.current('registry')
    t.is(await store.current('registry'), first)
    t.is(await store.open(first.key), first, 'the same object for the same key')
    t.unlike((await store.current('parcel:a')).key, first.key)
    await first.append(blocks(0, 1))
    const retired = once(first, 'retired')
    await store.retire(first.key)
    await retired
    t.absent(first.writable)
    await t.exception(first.append(blocks(1, 1)), { code: 'LOG_RETIRED' })
    const second = await store.current('registry')
    t.unlike(second.key, first.key)
    t.is(await second.append(blocks(0, 1)), 0)
    t.alike(await first.read(0), block(0), 'the old one can still be read')
  })

  test(`${name}: concurrent appends get distinct places`, async (t) => {
    const store = await factory(t)
    const log = await store.current('parcel:a')
    const starts = await Promise.all([0, 3, 6, 9].map((n) => log.append(blocks(n, 3))))
    t.alike(
      starts.toSorted((a, b) => a - b),
      [0, 3, 6, 9]
    )
    for (let i = 0; i < 4; i++) t.alike(await log.read(starts[i]), block(i * 3))
  })

  test(`${name}: list and peek know logs with something stored`, async (t) => {
    const store = await factory(t)
    const log = await store.current('parcel:a')
    const strange = Buffer.alloc(32, 7)
    t.is(await store.peek(strange), null)
    await log.append(blocks(0, 1))
    await store.flush()
    t.is(await store.peek(log.key), log)
    t.alike(await store.list(), [log.key])
  })

  test(`${name}: lengths and blocks travel by proof`, async (t) => {
    const [here, there] = [await factory(t), await factory(t)]
    const source = await here.current('parcel:a')
    await source.append(blocks(0, 5))
    await here.flush()
    const copy = await there.open(source.key)
    t.is(copy.length, 0)
    t.absent(copy.writable)
    t.ok(await copy.apply((await source.proveLength(0, 5))!))
    t.is(copy.length, 5)
    t.alike(await copy.treeHash(5), await source.treeHash(5))
    t.is(await copy.firstMissing(0, 5), 0)
    const stored: number[] = []
    copy.on('stored', (index: number) => stored.push(index))
    for (const index of [3, 0, 1]) await transfer(source, copy, index)
    t.alike(stored, [3, 0, 1])
    t.alike(await copy.read(3), block(3))
    t.is(await copy.read(2), null)
    t.is(await copy.firstMissing(0, 5), 2)
    t.is(await copy.firstMissing(3, 4), -1)
    const durable = once(copy, 'durable')
    await there.flush()
    t.alike(
      (await durable)[1].toSorted((a: number, b: number) => a - b),
      [0, 1, 3]
    )
    t.alike(await copy.durableRuns(0, 5, 10), [
      { start: 0, count: 2 },
      { start: 3, count: 1 }
    ])
    t.alike(await copy.durableRuns(0, 5, 1), [{ start: 0, count: 2 }])
    await source.append(blocks(5, 3))
    await here.flush()
    t.ok(await copy.apply((await source.proveLength(5, 8))!), 'and grow')
    t.is(copy.length, 8)
    await transfer(source, copy, 7)
    t.alike(await copy.read(7), block(7))
  })

  test(`${name}: many blocks may be applied at once`, async (t) => {
    const [here, there] = [await factory(t), await factory(t)]
    const source = await here.current('parcel:a')
    await source.append(blocks(0, 50))
    await here.flush()
    const copy = await there.open(source.key)
    await copy.apply((await source.proveLength(0, 50))!)
    await Promise.all(Array.from({ length: 50 }, (_, index) => transfer(source, copy, index)))
    t.is(await copy.firstMissing(0, 50), -1)
    for (let i = 0; i < 50; i++) {
      if (!(await copy.read(i))?.equals(block(i))) t.fail(`block ${i} differs`)
    }
  })

  test(`${name}: what is not durable is not proven`, async (t) => {
    const [here, there] = [await factory(t), await factory(t)]
    const source = await here.current('parcel:a')
    await source.append(blocks(0, 3))
    t.is(await source.proveLength(0, 3), null)
    t.is(await source.proveBlock(0, 0), null)
    await here.flush()
    await source.append(blocks(3, 4))
    t.is(await source.proveLength(0, 7), null)
    t.is(await source.proveBlock(4, 1), null)
    const copy = await there.open(source.key)
    t.ok(await copy.apply((await source.proveLength(0, 3))!))
    t.is(copy.length, 3, 'the durable length can be proven while a longer one exists')
    await transfer(source, copy, 2)
    t.alike(await copy.read(2), block(2))
  })

  const testVerifying = verifies ? test : test.skip
  testVerifying(`${name}: a wrong proof changes nothing`, async (t) => {
    const [here, there] = [await factory(t), await factory(t)]
    const source = await here.current('parcel:a')
    const other = await here.current('parcel:b')
    await source.append(blocks(0, 4))
    await other.append(blocks(10, 4))
    await here.flush()
    const copy = await there.open(source.key)
    const foreign = (await other.proveLength(0, 4))!
    t.absent(await copy.apply(foreign), 'the length of another log')
    t.is(copy.length, 0)
    const forged = (await source.proveLength(0, 4))!
    forged.upgrade!.signature = Buffer.alloc(forged.upgrade!.signature.byteLength, 1)
    t.absent(await copy.apply(forged), 'a forged signature')
    t.ok(await copy.apply((await source.proveLength(0, 4))!))
    const nodes = await copy.missingNodes(1)
    const proof = (await source.proveBlock(1, nodes))!
    t.absent(
      await copy.apply({ ...proof, block: { ...proof.block!, value: block(9) } }),
      'other data'
    )
    t.absent(await copy.apply({ ...proof, block: { ...proof.block!, index: 2 } }), 'another place')
    t.absent(await copy.apply({ ...proof, fork: 1 }), 'another fork')
    t.absent(await copy.apply({ ...proof, block: { ...proof.block!, index: 99 } }), 'out of range')
    t.is(await copy.firstMissing(0, 4), 0)
    t.ok(await copy.apply(proof), 'the right one still fits')
  })

  test(`${name}: concurrent flushes all cover what was written before them`, async (t) => {
    const store = await factory(t)
    const log = await store.current('parcel:a')
    const flushes: Promise<void>[] = []
    for (let i = 0; i < 10; i++) {
      await log.append(blocks(i, 1))
      flushes.push(store.flush().then(() => t.ok(log.durableLength > i)))
    }
    await Promise.all(flushes)
  })
}

/** Moves one block by proof. */
export async function transfer(from: Log, to: Log, index: number): Promise<void> {
  const proof = await from.proveBlock(index, await to.missingNodes(index))
  if (proof === null || !(await to.apply(proof))) throw new Error(`Block ${index} does not travel`)
}

/** Content of a test block: sizes around RocksDB's limit for blob files. */
export function block(n: number): Buffer {
  return Buffer.alloc(3000 + ((n * 977) % 4000), n + 1)
}

export function blocks(start: number, count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => block(start + i))
}
