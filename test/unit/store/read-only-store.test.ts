import test from 'brittle'
import { ReadOnlyStore } from '../../../lib/store/read-only-store.ts'
import { startChild } from '../../helpers/children.ts'

test('reads what another process has stored, while that writes and compacts', async (t) => {
  const directory = await t.tmp()
  const child = startChild(t, 'store-writer', directory)
  const key = Buffer.from(await child.line(), 'hex')
  child.say('append 64')
  await child.line()
  const store = new ReadOnlyStore({ directory, refreshIntervalMs: 0 })
  await store.ready()
  t.teardown(() => store.close())
  t.alike(await store.read(key, 63), content(63), 'unflushed appends are seen too')
  t.is(await store.read(key, 64), null)
  t.is(await store.read(Buffer.alloc(32, 9), 0), null, 'a log that is not here')
  t.absent(await store.has(Buffer.alloc(32, 9), 0))

  child.say('append 1')
  await child.line()
  t.is(await store.read(key, 64), null, 'what came later is not seen')
  t.ok(await store.refresh())
  t.alike(await store.read(key, 64), content(64), 'before a refresh')

  // Compaction rewrites and deletes the files beneath. A read gives the block or nothing, never other bytes.
  child.say('churn 12')
  const done = child.line()
  let [good, absent, refreshed] = [0, 0, 0]
  let finished = false
  void done.then(() => (finished = true))
  for (let n = 0; !finished; n++) {
    const index = (n * 7) % 65
    const read = await store.read(key, index)
    if (read === null) absent++
    else if (read.equals(content(index))) good++
    else t.fail(`block ${index} has other content`)
    if (n % 50 === 49 && (await store.refresh())) refreshed++
  }
  t.comment(`${good} reads, ${absent} found nothing, ${refreshed} refreshes`)
  t.ok(good > 100)
  await store.refresh()
  for (let i = 0; i < 65; i++) {
    if (!(await store.read(key, i))?.equals(content(i))) t.fail(`block ${i} is lost`)
  }
})

test('a store that does not exist yet, and one that came since', async (t) => {
  const directory = await t.tmp()
  const store = new ReadOnlyStore({ directory, refreshIntervalMs: 0 })
  await store.ready()
  t.teardown(() => store.close())
  t.is(await store.read(Buffer.alloc(32, 1), 0), null)
  t.absent(await store.refresh())
  const child = startChild(t, 'store-writer', directory)
  const key = Buffer.from(await child.line(), 'hex')
  child.say('append 1')
  await child.line()
  t.ok(await store.refresh())
  t.alike(await store.read(key, 0), content(0))
})

test('refreshes are rate-limited and shared', async (t) => {
  const directory = await t.tmp()
  const child = startChild(t, 'store-writer', directory)
  await child.line()
  let now = 0
  const clock = { now: () => now, monotonic: () => now, sleep: () => Promise.resolve() }
  const store = new ReadOnlyStore({ directory, clock, refreshIntervalMs: 1000 })
  await store.ready()
  t.teardown(() => store.close())
  t.absent(await store.refresh())
  now += 1000
  t.alike(await Promise.all([store.refresh(), store.refresh()]), [true, true])
  t.absent(await store.refresh())
})

function content(index: number): Buffer {
  return Buffer.alloc(8192, index & 255)
}
