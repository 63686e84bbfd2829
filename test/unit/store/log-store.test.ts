import { cp, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import { LogStore } from '../../../lib/store/log-store.ts'
import { block, blocks, logStoreSuite, transfer } from '../../conformance/log-store.ts'
import { startChild } from '../../helpers/children.ts'
import { createLogStore } from '../../helpers/stores.ts'

logStoreSuite(test, 'LogStore', (t) => createLogStore(t))

test('a clean close keeps the log', async (t) => {
  const directory = await t.tmp()
  const first = new LogStore({ directory })
  await first.ready()
  const { key } = await first.current('parcel:a')
  await (await first.current('parcel:a')).append(blocks(0, 3))
  await first.close()
  const second = await createLogStore(t, directory)
  const log = await second.current('parcel:a')
  t.alike(log.key, key)
  t.is(log.durableLength, 3)
  t.is(await log.append(blocks(3, 1)), 3)
})

test('an own log that was only opened by its key is not forgotten', async (t) => {
  const directory = await t.tmp()
  const first = new LogStore({ directory })
  await first.ready()
  const { key } = await first.current('parcel:a')
  await (await first.current('parcel:a')).append(blocks(0, 3))
  await first.close()
  for (let i = 0; i < 2; i++) {
    const store = new LogStore({ directory })
    await store.ready()
    t.is(store.retiredLogs().length, 0)
    const log = await store.open(key)
    t.ok(log.writable)
    if (i === 0) await log.append(blocks(3, 1))
    await store.close()
  }
  const last = await createLogStore(t, directory)
  t.is((await last.current('parcel:a')).length, 4)
})

test('a killed process starts new logs, and what it had written can still be read', async (t) => {
  const directory = await t.tmp()
  const child = startChild(t, 'store-writer', directory)
  const key = Buffer.from(await child.line(), 'hex')
  child.say('append 4')
  t.is(await child.line(), 'ok 4')
  child.say('flush')
  await child.line()
  child.say('append 2')
  await child.line()
  await child.end('SIGKILL')
  const store = await createLogStore(t, directory)
  t.alike(
    store.retiredLogs().map((log) => [log.key, log.reason]),
    [[key, 'killed']]
  )
  const log = await store.current('parcel:a')
  t.unlike(log.key, key)
  t.is(log.length, 0)
  const old = await store.open(key)
  t.absent(old.writable)
  t.ok(old.durableLength >= 4)
  t.alike(await old.read(3), Buffer.alloc(8192, 3))
  await t.exception(old.append(blocks(0, 1)), /append/)
})

test('a store that was rolled back starts new logs', async (t) => {
  const directory = await t.tmp()
  const first = new LogStore({ directory })
  await first.ready()
  const { key } = await first.current('parcel:a')
  await (await first.current('parcel:a')).append(blocks(0, 3))
  await first.close()
  // The state knows one block more than the store.
  const file = path.join(directory, 'logs.json')
  const state = JSON.parse(await readFile(file, 'utf8'))
  state.logs[0].length = 4
  await writeFile(file, JSON.stringify(state))
  const second = await createLogStore(t, directory)
  t.unlike((await second.current('parcel:a')).key, key)
  t.is(second.retiredLogs()[0].reason, 'rolled-back')
})

test('a damaged or newer state file', async (t) => {
  const directory = await t.tmp()
  const file = path.join(directory, 'logs.json')
  const first = new LogStore({ directory })
  await first.ready()
  const { key } = await first.current('parcel:a')
  await first.close()
  await writeFile(file, '{"format":1,')
  const second = new LogStore({ directory })
  await second.ready()
  t.unlike((await second.current('parcel:a')).key, key, 'damaged: new logs')
  await second.close()
  const entry = { key: 'zz', purpose: 'parcel:a', retired: null, length: 0, treeHash: null }
  const state = { format: 1, clean: true, bootId: '', logs: [entry] }
  await writeFile(file, JSON.stringify(state))
  const damaged = new LogStore({ directory })
  await damaged.ready()
  t.is((await damaged.current('parcel:a')).length, 0, 'damaged within: new logs')
  await damaged.close()
  await writeFile(file, '{"format":2,"clean":true,"bootId":"","logs":[]}')
  const third = new LogStore({ directory })
  await t.exception(third.ready(), /newer/)
  t.is(await readFile(file, 'utf8'), '{"format":2,"clean":true,"bootId":"","logs":[]}')
})

test('a peer that knows more of an own log retires it', async (t) => {
  const [here, there] = [await createLogStore(t), await createLogStore(t)]
  const mine = await here.current('parcel:a')
  await mine.append(blocks(0, 2))
  await here.flush()
  // The other side got two blocks that this device lost: the same log, longer.
  const directory = await t.tmp()
  await here.close()
  await cp(here.directory, directory, { recursive: true, preserveTimestamps: true })
  const longer = await createLogStore(t, here.directory)
  await (await longer.current('parcel:a')).append(blocks(2, 2))
  await longer.flush()
  const witness = await there.open(mine.key)
  await witness.apply((await (await longer.current('parcel:a')).proveLength(0, 4))!)
  for (let i = 0; i < 4; i++) await transfer(await longer.current('parcel:a'), witness, i)
  await there.flush()
  const proof = (await witness.proveLength(2, 4))!
  await longer.close()

  // Roll back: the old files, in the old place.
  await cp(path.join(directory, 'logs.json'), path.join(here.directory, 'logs.json'))
  const { rm } = await import('node:fs/promises')
  await rm(path.join(here.directory, 'cores', 'db'), { recursive: true })
  await cp(path.join(directory, 'cores', 'db'), path.join(here.directory, 'cores', 'db'), {
    recursive: true
  })
  const back = await createLogStore(t, here.directory)
  const log = await back.current('parcel:a')
  t.alike([log.key, log.length], [mine.key, 2], 'the rollback went unnoticed')
  let appendsSeen = 0
  log.on('retired', () => (appendsSeen = log.length))
  const [applied] = await Promise.all([
    log.apply(proof),
    t.exception(log.append(blocks(9, 1)), /append/, 'an append that waits behind it fails')
  ])
  t.ok(applied)
  t.is(appendsSeen, 4)
  t.absent(log.writable)
  t.is(log.length, 4)
  await transfer(witness, log, 3)
  t.alike(await log.read(3), block(3), 'the lost blocks come back')
  t.unlike((await back.current('parcel:a')).key, mine.key)
})

test('a copied store and a second process are refused', async (t) => {
  const directory = await t.tmp()
  const store = await createLogStore(t, directory)
  await store.current('parcel:a')
  const second = new LogStore({ directory })
  await t.exception(second.ready(), /Another process/)
  await store.close()
  const copy = path.join(await t.tmp(), 'copy')
  await cp(directory, copy, { recursive: true })
  const third = new LogStore({ directory: copy })
  await t.exception(third.ready(), /is a copy/)
  await createLogStore(t, directory)
})

test('more logs than open sessions', async (t) => {
  const store = await createLogStore(t)
  const keys: Buffer[] = []
  for (let i = 0; i < 200; i++) {
    const log = await store.current(`parcel:${i}`)
    keys.push(log.key)
    await log.append([block(i)])
    if (i % 20 === 19) await store.flush()
  }
  for (let i = 0; i < 200; i++) {
    const log = await store.open(keys[i])
    if (!(await log.read(0))?.equals(block(i))) t.fail(`log ${i} lost its block`)
  }
  t.is((await store.list()).length, 200)
})

test('after the close nothing can be appended', async (t) => {
  const store = await createLogStore(t)
  const log = await store.current('parcel:a')
  const appends = [log.append(blocks(0, 1)), log.append(blocks(1, 1))]
  await store.close()
  await Promise.all(appends)
  await t.exception(log.append(blocks(2, 1)), /clos/)
  await t.exception(store.current('parcel:b'), /not open/)
  const again = await createLogStore(t, store.directory)
  t.is((await again.current('parcel:a')).length, 2)
})
