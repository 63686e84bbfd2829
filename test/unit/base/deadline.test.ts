import test from 'brittle'
import { once, EventEmitter } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import v8 from 'node:v8'
import vm from 'node:vm'
import { withDeadline } from '../../../lib/base/deadline.ts'

const never = (signal: AbortSignal) => once(new EventEmitter(), 'x', { signal })

test('a deadline fires, also after garbage was collected', { timeout: 10_000 }, async (t) => {
  const parent = new AbortController()
  const work = withDeadline(300, parent.signal, never).catch((err: Error) => err.name)
  v8.setFlagsFromString('--expose-gc')
  const collect = vm.runInNewContext('gc') as () => void
  await sleep(50)
  for (let i = 0; i < 5; i++) collect()
  t.is(await work, 'AbortError')
})

test('a parent ends it sooner, and a result ends the deadline', async (t) => {
  const parent = new AbortController()
  const work = withDeadline(60_000, parent.signal, never)
  parent.abort()
  await t.exception(work)
  t.is(await withDeadline(60_000, undefined, () => Promise.resolve(7)), 7)
})

test('the reason is the one given', async (t) => {
  const work = (signal: AbortSignal) =>
    new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  await t.exception(
    withDeadline(10, undefined, work, () => new Error('late')),
    /late/
  )
})
