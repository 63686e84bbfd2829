import test from 'brittle'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { tryLock } from '../../../lib/base/lock.ts'

test('one holder at a time', async (t) => {
  const file = path.join(await t.tmp(), 'lock')
  const first = tryLock(file)
  t.ok(first)
  t.is(tryLock(file), null)
  first!.release()
  const second = tryLock(file)
  t.ok(second, 'free again')
  second!.release()
})

test('a holder that is killed holds nothing', async (t) => {
  const file = path.join(await t.tmp(), 'lock')
  const module = new URL('../../../lib/base/lock.js', import.meta.url).href
  const program = `
    const { tryLock } = await import(${JSON.stringify(module)})
    console.log(tryLock(${JSON.stringify(file)}) !== null)
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program])
  t.teardown(() => child.kill('SIGKILL'))
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  t.is(line.toString().trim(), 'true')
  t.is(tryLock(file), null)
  child.kill('SIGKILL')
  await once(child, 'exit')
  const lock = tryLock(file)
  t.ok(lock)
  lock?.release()
})
